"""`curator map`: the whole index on one picture."""

from __future__ import annotations

from pathlib import Path

import click

from curator.cli.face import opened, print_json, say, working
from curator.cli.options import index_option, json_option
from curator.texts import plural


@click.command("map")
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False), required=False, metavar="[FILE.png]")
@index_option
@click.option("--colour", "column", default="label", show_default=True, metavar="COLUMN", help="What colours a point.")
@click.option("--anew", is_flag=True, help="Lay all images out again; else new ones are placed beside their nearest.")
@json_option
def map_command(target: Path | None, name: str | None, *, column: str, anew: bool, as_json: bool) -> None:
    """Lay the index out in the plane.

    Images lie near those that are alike. The page shows the same map, with a lasso: `curator web`. With --json the
    places are printed.
    """
    from curator.drawing.sheets import refuse_sheet
    from curator.index.layout import load_layout

    if target:
        refuse_sheet(target)
    with opened(name) as index, working() as job:
        layout = load_layout(index.reader, index.space, anew=anew, job=job)
        value_of = index.reader.values_of(column)
    ids = layout.image_ids.tolist()
    values = [None if value_of.get(i) is None else str(value_of[i]) for i in ids]
    if as_json:
        rows = zip(ids, layout.places.tolist(), values, strict=True)
        print_json([{"id": i, "x": x, "y": y, "value": value} for i, (x, y), value in rows])
        return
    say(f"{plural(layout.pictures, 'picture')}, {layout.laid:,} laid out, the others beside their nearest.")
    if target:
        _draw(layout.places, values, target)


def _draw(places: object, values: list[str | None], target: Path) -> None:
    from collections import Counter

    import numpy as np

    from curator.drawing.scatter import COLOURS, draw_scatter
    from curator.drawing.sheets import save_picture

    commonest = Counter(v for v in values if v is not None).most_common(len(COLOURS))
    code_of = {value: code for code, (value, _) in enumerate(commonest)}
    codes = np.array([code_of.get(v, -1) if v is not None else -1 for v in values], np.int64)
    names = [f"{value} ({count:,})" for value, count in commonest]
    save_picture(draw_scatter(np.asarray(places), codes, names), target)
    say(f"Map: {target}")


COMMANDS = (map_command,)
