"""SQLite, the only truth. The only rooms with SQL."""

from curator.database.connection import DATABASE, damaged_rows, is_born, is_clean, mark_clean, take_lock
from curator.database.reader import KnownImage, Reader
from curator.database.salvage import salvage
from curator.database.writer import NewImage, Writer

__all__ = [
    "DATABASE",
    "KnownImage",
    "NewImage",
    "Reader",
    "Writer",
    "damaged_rows",
    "is_born",
    "is_clean",
    "mark_clean",
    "salvage",
    "take_lock",
]
