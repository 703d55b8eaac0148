"""Loss curves and metrics of a run as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from curator.files import whole
from curator.training.folder import Run

Points = list[tuple[int, float]]
Panel = tuple[str, Sequence[tuple[Points, str]]]
"""A title, and lines of points (images seen, number) with their colours."""


def draw_curves(run: Run) -> None:
    """Write `curves.png`: each number of stats.jsonl and metrics.jsonl over images seen.

    A number that was logged once is a dot. Does nothing where there is none.
    """
    stats, metrics = run.rows("stats.jsonl"), run.rows("metrics.jsonl")
    logged = set(_names(stats))
    panels = [(_title(name), [(_points(stats, name), "#2a7d3f")]) for name in _names(stats)]
    panels += [
        (f"{_title(name)} (at checkpoints)" if name in logged else _title(name), [(_points(metrics, name), "#1f4e8c")])
        for name in _names(metrics)
    ]
    if panels:
        with whole(run.folder / "curves.png") as beside:
            _figure(panels).savefig(beside, dpi=110)


def draw_over(runs: Sequence[Run]) -> Image.Image:
    """A picture of every number that any of the runs logged, over images seen, a line for each run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.lines import Line2D

    logs = [(run.rows("stats.jsonl"), run.rows("metrics.jsonl")) for run in runs]
    names = list(dict.fromkeys(name for stats, metrics in logs for name in (*_names(stats), *_names(metrics))))
    panels: list[Panel] = []
    for name in names:
        both = [metrics if any(name in r for r in metrics) else stats for stats, metrics in logs]
        panels.append((_title(name), [(_points(rows, name), f"C{n}") for n, rows in enumerate(both)]))
    figure = _figure(panels, head=0.4)
    handles = [Line2D([], [], color=f"C{n}") for n in range(len(runs))]
    figure.legend(handles, [r.name for r in runs], loc="upper left", ncols=len(runs), fontsize=8, frameon=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _figure(panels: Sequence[Panel], *, head: float = 0.0) -> Any:
    """Up to four panels in a row, below `head` inches; a line over images seen, or a dot where there is one point."""
    from matplotlib.figure import Figure

    columns = min(4, max(1, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    high = 2.2 * lines + head
    figure = Figure(figsize=(3.2 * columns, high))
    # A layout engine takes seconds.
    figure.subplots_adjust(0.06, 0.5 / high, 0.98, 1 - (head / 2 + 0.3) / high, 0.3, 0.45)
    for i, (title, curves) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, i + 1)
        for points, colour in curves:
            if points:
                marker = "o" if len(points) == 1 else None
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, marker=marker)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=4)
        axes.grid(alpha=0.25)
    figure.supxlabel("images seen", fontsize=9)
    return figure


def _points(rows: list[dict[str, Any]], name: str) -> Points:
    return [(r["images_seen"], r[name]) for r in rows if isinstance(r.get(name), int | float)]


def _title(name: str) -> str:
    return name.replace("_", " ")


def _names(rows: list[dict[str, object]]) -> list[str]:
    return [
        n for n in dict.fromkeys(k for r in rows for k in r) if n not in ("images_seen", "seconds", "n", "confusion")
    ]
