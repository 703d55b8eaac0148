"""Picture files: find them, read them, and read what lies beside them."""

from curator.images.decode import MAX_BYTES, Decoded, decode, read_bytes, read_picture
from curator.images.measure import measure
from curator.images.sidecars import NoteSources, NotesRead, notes_of_rows, read_notes
from curator.images.walk import SIDECARS, SUFFIXES, Walk, absolute, walk, walk_files

__all__ = [
    "MAX_BYTES",
    "SIDECARS",
    "SUFFIXES",
    "Decoded",
    "NoteSources",
    "NotesRead",
    "Walk",
    "absolute",
    "decode",
    "measure",
    "notes_of_rows",
    "read_bytes",
    "read_notes",
    "read_picture",
    "walk",
    "walk_files",
]
