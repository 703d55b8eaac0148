"""`Index`: one folder with a database, its FAISS files and its neighbour graph, kept in step."""

from curator.index.graph import NEIGHBOURS, build_graph, load_graph
from curator.index.index import CLEAR, WAIT, Index
from curator.index.size import check_graph

__all__ = ["CLEAR", "NEIGHBOURS", "WAIT", "Index", "build_graph", "check_graph", "load_graph"]
