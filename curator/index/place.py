"""Where an index is."""

from __future__ import annotations

import os
from pathlib import Path

from curator.database import DATABASE


def locate(name: str | Path | None = None) -> Path:
    """The folder of an index: a path if `name` looks like one, else `indexes/<name>` here or in a folder around here.

    Without a name it is `CURATOR_INDEX`, else `default`. An index that is nowhere yet belongs in `indexes/` here.
    """
    chosen = str(name or os.environ.get("CURATOR_INDEX") or "default")
    if os.sep in chosen or chosen.startswith((".", "~")) or (Path(chosen) / DATABASE).is_file():
        return Path(chosen).expanduser().absolute()
    current = Path.cwd()
    homes = (folder / "indexes" / chosen for folder in (current, *current.parents))
    return next((home for home in homes if (home / DATABASE).is_file()), current / "indexes" / chosen)
