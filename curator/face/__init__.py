"""The Python face: an index whose answers know their pictures. `import curator` offers what is here."""

from curator.face.hits import Hit, Hits
from curator.face.index import Index, open_index
from curator.face.selection import Selection

__all__ = ["Hit", "Hits", "Index", "Selection", "open_index"]
