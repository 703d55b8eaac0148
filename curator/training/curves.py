"""Loss curves and metrics of a run as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from curator.files import whole
from curator.training.folder import Run


def draw_curves(run: Run) -> None:
    """Write `curves.png`: each number of stats.jsonl and metrics.jsonl over images seen.

    A number that was logged once is a dot. Does nothing where there is none.
    """
    from matplotlib.figure import Figure

    stats, metrics = run.rows("stats.jsonl"), run.rows("metrics.jsonl")
    panels = [(name, rows) for rows in (stats, metrics) for name in _names(rows)]
    if not panels:
        return
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.2 * lines))
    figure.subplots_adjust(
        0.06, 0.5 / (2.2 * lines), 0.98, 1 - 0.3 / (2.2 * lines), 0.3, 0.45
    )  # a layout engine takes seconds
    for i, (name, rows) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, i + 1)
        points = [(r["images_seen"], r[name]) for r in rows if isinstance(r.get(name), int | float)]
        _plot(axes, points, "#2a7d3f" if rows is stats else "#1f4e8c")
        held = " (at checkpoints)" if rows is metrics and any(name in r for r in stats) else ""
        axes.set_title(name.replace("_", " ") + held, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=4)
        axes.grid(alpha=0.25)
    figure.supxlabel("images seen", fontsize=9)
    with whole(run.folder / "curves.png") as beside:
        figure.savefig(beside, dpi=110)


def draw_over(runs: Sequence[Run]) -> Image.Image:
    """A picture of every number that any of the runs logged, over images seen, a line for each run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    logs = [(run.rows("stats.jsonl"), run.rows("metrics.jsonl")) for run in runs]
    names = list(dict.fromkeys(name for stats, metrics in logs for name in (*_names(stats), *_names(metrics))))
    columns = min(4, max(1, len(names)))
    lines = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(3.2 * columns, 2.2 * lines + 0.4))
    high = 2.2 * lines + 0.4
    figure.subplots_adjust(0.06, 0.5 / high, 0.98, 1 - 0.6 / high, 0.3, 0.45)
    for i, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, i + 1)
        for number, (stats, metrics) in enumerate(logs):
            rows = metrics if any(name in r for r in metrics) else stats
            points = [(r["images_seen"], r[name]) for r in rows if isinstance(r.get(name), int | float)]
            _plot(axes, points, f"C{number}")
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.tick_params(labelsize=7)
        axes.locator_params(nbins=4)
        axes.grid(alpha=0.25)
    handles = [Line2D([], [], color=f"C{n}") for n in range(len(runs))]
    figure.legend(handles, [r.name for r in runs], loc="upper left", ncols=len(runs), fontsize=8, frameon=False)
    figure.supxlabel("images seen", fontsize=9)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _plot(axes: Any, points: Sequence[tuple[Any, Any]], colour: str) -> None:
    """A line over images seen, or a dot where there is one point."""
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, marker="o" if len(points) == 1 else None)


def _names(rows: list[dict[str, object]]) -> list[str]:
    return [
        n for n in dict.fromkeys(k for r in rows for k in r) if n not in ("images_seen", "seconds", "n", "confusion")
    ]
