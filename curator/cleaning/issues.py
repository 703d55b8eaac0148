"""`curator issues`: pictures that stand out as bad, from the measures taken at ingest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.database import Curation
from curator.errors import UsageError
from curator.index import Index
from curator.registry import Registry, suggest

Column = NDArray[np.float64]
_COLUMNS = ("i.id", "m.sharpness", "m.brightness", "m.contrast", "m.entropy", "c.width", "c.height")


@dataclass(frozen=True)
class Table:
    """Measures of n images, each column (n,): see `Measures`; `width` and `height` in pixels."""

    ids: NDArray[np.int64]
    sharpness: Column
    brightness: Column
    contrast: Column
    entropy: Column
    width: Column
    height: Column


@dataclass(frozen=True)
class Issue:
    """Images with one kind of issue, worst first, and the value that says so, in words for each."""

    name: str
    rule: str
    ids: tuple[int, ...]
    values: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """What a check found: which images (n,) bool, and how bad each is (n,), larger is worse.

    `rule` is the cut-off in words, `form` the format of a value.
    """

    mask: NDArray[np.bool_]
    badness: Column
    value: Column
    rule: str
    form: str


Check = Callable[[Table], Seen]
checks: Registry[Check] = Registry("issue")

_BLANK = 1.0  # bits of entropy
_DARK, _BRIGHT = 0.12, 0.92  # mean grey level
_SOFT = 0.035  # sharpness below which a picture is soft whatever the others are
_ODD_SHAPE = 3.0  # long side over short side


@checks.register("blank")
def _blank(t: Table) -> Seen:
    return Seen(t.entropy < _BLANK, -t.entropy, t.entropy, f"entropy below {_BLANK:g} bits", "{:.2f} bits")


@checks.register("dark")
def _dark(t: Table) -> Seen:
    return Seen(
        (t.entropy >= _BLANK) & (t.brightness < _DARK),
        -t.brightness,
        t.brightness,
        f"mean brightness below {_DARK:g}",
        "brightness {:.2f}",
    )


@checks.register("bright")
def _bright(t: Table) -> Seen:
    return Seen(
        (t.entropy >= _BLANK) & (t.brightness > _BRIGHT),
        t.brightness,
        t.brightness,
        f"mean brightness above {_BRIGHT:g}",
        "brightness {:.2f}",
    )


@checks.register("blurred")
def _blurred(t: Table) -> Seen:
    """Softer than nearly all others, or soft by any measure; blank ones have no sharpness to speak of."""
    inked = t.entropy >= _BLANK
    logs = np.log(np.maximum(t.sharpness, 1e-4))
    cut = max(_SOFT, float(np.exp(_bounds(logs[inked], 1.5)[0])))
    return Seen(
        inked & (t.sharpness < cut), -t.sharpness, t.sharpness, f"sharpness below {cut:.3f}", "sharpness {:.3f}"
    )


@checks.register("odd-size")
def _odd_size(t: Table) -> Seen:
    """Much smaller or larger than the others.

    Beyond Tukey's far fences of the logarithm of the area, and by a factor of four.
    """
    side = np.sqrt(t.width * t.height)
    logs = np.log(np.maximum(side, 1))
    low, high = _bounds(logs, 3.0)
    middle = float(np.median(logs)) if len(logs) else 0.0
    low, high = min(low, middle - np.log(2)), max(high, middle + np.log(2))
    rule = f"geometric mean of the sides outside {np.exp(low):.0f} to {np.exp(high):.0f} pixels"
    return Seen((logs < low) | (logs > high), np.abs(logs - middle), side, rule, "{:.0f} pixels a side")


@checks.register("odd-shape")
def _odd_shape(t: Table) -> Seen:
    ratio = np.maximum(t.width, t.height) / np.maximum(np.minimum(t.width, t.height), 1)
    return Seen(
        ratio > _ODD_SHAPE, ratio, ratio, f"long side more than {_ODD_SHAPE:g} times the short one", "{:.1f} : 1"
    )


def find_issues(index: Index, names: Sequence[str] = (), *, where: str | None = None) -> list[Issue]:
    """Outliers of each kind, or of those named, among images that were measured.

    Raises `UsageError` for an unknown kind.
    """
    for name in names:
        if name not in checks:
            raise UsageError(f"no kind of issue '{name}'; {suggest(name, checks)}")
    rows = Curation(index.reader).table(", ".join(_COLUMNS))
    if where is not None:
        chosen = set(index.reader.ids_where(where).tolist())
        rows = [r for r in rows if r[0] in chosen]
    values = np.array(rows, np.float64).reshape(-1, len(_COLUMNS))
    table = Table(values[:, 0].astype(np.int64), *values[:, 1:].T)
    issues = []
    for name in names or checks:
        seen = checks[name](table)
        positions = np.flatnonzero(seen.mask)
        positions = positions[np.lexsort((table.ids[positions], -seen.badness[positions]))]
        shown = tuple(seen.form.format(v) for v in seen.value[positions])
        issues.append(Issue(name, seen.rule, tuple(table.ids[positions].tolist()), shown))
    return issues


def _bounds(v: Column, reach: float) -> tuple[float, float]:
    """Tukey's fences, `reach` quartile distances beyond the quartiles (1977, §2E).

    Nothing is outside those of no values.
    """
    if not len(v):
        return -np.inf, np.inf
    low, high = np.percentile(v, [25, 75])
    width = max(float(high - low), 1e-9)
    return float(low) - reach * width, float(high) + reach * width
