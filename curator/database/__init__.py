"""SQLite, the only truth. The only rooms with SQL."""

from curator.database.connection import ALONE, is_born, is_locked, open_raw, refuse_newer, take_lock
from curator.database.curation import Curation
from curator.database.integrity import damaged_rows, dangling_rows, has_tables, take_over_log
from curator.database.reader import FEW, Reader
from curator.database.salvage import salvage
from curator.database.selections import Selections
from curator.database.sketches import Sketches
from curator.database.where import all_of, quoted
from curator.database.writer import NewImage, Writer

__all__ = [
    "ALONE",
    "FEW",
    "Curation",
    "NewImage",
    "Reader",
    "Selections",
    "Sketches",
    "Writer",
    "all_of",
    "damaged_rows",
    "dangling_rows",
    "has_tables",
    "is_born",
    "is_locked",
    "open_raw",
    "quoted",
    "refuse_newer",
    "salvage",
    "take_lock",
    "take_over_log",
]
