"""`Index`: one folder with a database, its FAISS files and its neighbour graph, kept in step."""

from curator.index.graph import build_graph, load_graph
from curator.index.index import CLEAR, WAIT, Index, locate

__all__ = ["CLEAR", "WAIT", "Index", "build_graph", "load_graph", "locate"]
