"""What `curator calibrate` found, as `dedupe` uses it."""

from __future__ import annotations

from typing import Any

from curator.database import Curation
from curator.duplicates import Thresholds
from curator.records import Space

PLANTED_CROPS = "planted crops"  # the kind under which calibrations hold what was found of crops


def find_thresholds(curation: Curation, space: Space, asked: float | None = None) -> Thresholds:
    """Calibrated thresholds of the space where there are some; a semantic one that was asked for."""
    built_in = Thresholds()
    calibrated = curation.calibrations(space)
    least = {kind: calibrated[kind][0] if kind in calibrated else value for kind, value in built_in.least.items()}
    sources = {kind: "calibrated" if kind in calibrated else "built in" for kind in least}
    semantic = asked if asked is not None else calibrated["semantic"][0] if "semantic" in calibrated else None
    sources["semantic"] = (
        "given" if asked is not None else "calibrated" if "semantic" in calibrated else "tail of the scores"
    )
    return Thresholds(least, semantic, sources)


def planted_of(curation: Curation, space: Space) -> dict[str, Any] | None:
    """What `calibrate` found of crops that it made of these pictures."""
    calibrations = curation.calibrations(space)
    return calibrations[PLANTED_CROPS][1] if PLANTED_CROPS in calibrations else None
