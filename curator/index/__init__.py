"""`Index`: one folder with a database, its FAISS files and its neighbour graph, kept in step."""

from curator.index.graph import build_graph, load_graph
from curator.index.index import CLEAR, Index, locate

__all__ = ["CLEAR", "Index", "build_graph", "load_graph", "locate"]
