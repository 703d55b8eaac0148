"""Picture files: find them, read them, and read what lies beside them."""

from curator.images.alpha import has_alpha, may_be_transparent, on_white, resized, seen_box, with_alpha
from curator.images.decode import MAX_BYTES, Decoded, decode, read_bytes, read_picture
from curator.images.measure import measure
from curator.images.packed import ImageFiles
from curator.images.sidecars import NotesRead, read_notes
from curator.images.spoken import NoteSources, notes_of_rows
from curator.images.walk import SIDECARS, SUFFIXES, Walk, absolute, walk, walk_files

__all__ = [
    "MAX_BYTES",
    "SIDECARS",
    "SUFFIXES",
    "Decoded",
    "ImageFiles",
    "NoteSources",
    "NotesRead",
    "Walk",
    "absolute",
    "decode",
    "has_alpha",
    "may_be_transparent",
    "measure",
    "notes_of_rows",
    "on_white",
    "read_bytes",
    "read_notes",
    "read_picture",
    "resized",
    "seen_box",
    "walk",
    "walk_files",
    "with_alpha",
]
