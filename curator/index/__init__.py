"""`Index`: one folder with a database and its FAISS files, kept in step."""

from curator.index.index import CLEAR, Index, locate

__all__ = ["CLEAR", "Index", "locate"]
