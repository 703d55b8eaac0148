"""Commands that look at a set before it is used: calibrate, leaks, issues."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curator.cli.cleaning.duplicates import LEVELS
from curator.cli.face import echo, known, opened, print_json, say, table, working
from curator.cli.options import FiniteRange, index_option, json_option, sheet_option, where_option
from curator.texts import plural

if TYPE_CHECKING:
    from curator.cleaning.issues import Issue
    from curator.cleaning.leaks import Leaks
    from curator.records import Image

_SHOWN = 12  # leaks, and images of one issue


@click.command("calibrate")
@index_option
@click.option(
    "--sample", type=click.IntRange(10), default=300, show_default=True, help="Pictures to make known duplicates of."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample and of what is done to it.")
@json_option
def calibrate_command(name: str | None, sample: int, seed: int, as_json: bool) -> None:
    """Choose the thresholds of dedupe on your images.

    Known duplicates are made of a sample (resized, JPEG, crops, mirrored, turned, recoloured, blurred, captioned,
    letterboxed) and told from its nearest neighbours. Kept per kind: the smallest threshold whose precision is at least
    0.99 at the lower end of its 95 % interval. And small crops are cut out of them: what share of each size is found.
    """
    from dataclasses import asdict

    from curator.cleaning.calibrate import calibrate
    from curator.cleaning.calibrated import planted_of
    from curator.cleaning.describe import describe_crops
    from curator.database import Curation

    with opened(name) as index, working() as job:
        calibrations = calibrate(index, sample=sample, seed=seed, job=job)
        planted = planted_of(Curation(index.reader), index.space)
    if as_json:
        print_json([asdict(c) for c in calibrations])
        return
    rows = [
        [
            *(
                c.kind,
                known(c.threshold, ".3f"),
                c.source,
                f"{c.cut.precision:.4f}",
                f"{c.cut.low:.4f}",
                f"{c.cut.recall:.3f}",
            ),
            *(known(c.held_out_recall, ".3f"), c.cut.positives, c.cut.negatives),
        ]
        for c in calibrations
    ]
    heads = (
        "kind",
        "threshold",
        "from",
        "precision",
        "at least",
        "recall",
        "recall, other transforms",
        "duplicates",
        "others",
    )
    echo(table(rows, heads))
    say(describe_crops(planted))
    if any(c.source != "calibrated" for c in calibrations):
        say(
            "Where no threshold reached a precision of 0.99 at the lower end, the built-in one stays. More --sample "
            "narrows the interval."
        )


@click.command("leaks")
@index_option
@click.option("--between", nargs=2, required=True, metavar="A B", help="The two sides, such as train test.")
@click.option(
    "--by",
    metavar="COLUMN|folder|selection",
    help="What names the side. [default: selections or a column that have both, else folders]",
)
@click.option(
    "--level", type=click.Choice(LEVELS), default="verified", show_default=True, help="What counts as the same."
)
@click.option("--threshold", type=FiniteRange(-1, 1), help="Least score of a semantic duplicate.")
@click.option(
    "--fix",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a CSV with mended sides; needs one of the next two.",
)
@click.option("--drop-from", metavar="SIDE", help="Leave leaked images of this side out.")
@click.option("--move-to", metavar="SIDE", help="Move every leaked group to this side as a whole.")
@sheet_option("the leaks")
@json_option
def leaks_command(
    *, name: str | None, between: tuple[str, str], by: str | None, level: str, threshold: float | None,
    fix: Path | None, drop_from: str | None, move_to: str | None, sheet: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Find pictures on both sides of a split.

    Exit code 1 if there are any.

    --fix FILE --drop-from train, --drop-from test or --move-to train writes a CSV of all images with mended sides;
    `curator index FOLDER --csv FILE` reads it.
    """
    from curator.cleaning.dedupe import DedupeOptions
    from curator.cleaning.leaks import find_leaks, write_fixed
    from curator.errors import UsageError

    if (fix is None) != (drop_from is None and move_to is None) or (drop_from and move_to):
        raise UsageError("--fix FILE goes with one of --drop-from SIDE and --move-to SIDE")
    with opened(name) as index:
        with working() as job:
            leaks = find_leaks(index, between, by=by, options=DedupeOptions(level=level, threshold=threshold), job=job)
        images = {i.id: i for i in index.images([i for leak in leaks.leaks for i in leak.sides])}
        if fix:
            changed = write_fixed(index, leaks, fix, drop_from=drop_from, move_to=move_to)
            say(
                f"{fix}: {plural(changed, 'image')} on another side or left out; `curator index FOLDER --csv {fix}` "
                "reads it."
            )
    if as_json:
        rows = [{"sides": {str(images[i].path): side for i, side in leak.sides.items()}} for leak in leaks.leaks]
        print_json({"by": leaks.by, "sizes": dict(leaks.sizes), "leaked": dict(leaks.leaked), "leaks": rows})
    else:
        _print_leaks(leaks, images)
    if sheet:
        _draw_leaks(leaks, images, sheet)
    sys.exit(1 if leaks.leaks else 0)


def _print_leaks(found: Leaks, images: dict[int, Image]) -> None:
    from curator.cleaning.describe import remarks

    for leak in found.leaks[:_SHOWN]:
        for image_id, side in sorted(leak.sides.items(), key=lambda pair: (pair[1], pair[0])):
            echo(f"  {side:<10} id:{image_id:<7} {images[image_id].path}")
        echo()
    if len(found.leaks) > _SHOWN:
        echo(f"… and {len(found.leaks) - _SHOWN} groups more; --sheet and --json show them.\n")
    echo(table([(s, n, found.leaked[s]) for s, n in found.sizes.items()], (f"{found.by}", "images", "leaked")))
    echo(f"\n{plural(len(found.leaks), 'group')} on more than one side.")
    if found.outside:
        say(
            f"{plural(found.outside, 'image')} on neither side, by {found.by}; --by COLUMN|folder|selection tells "
            "sides apart otherwise."
        )
    for line in remarks(found.found):
        say(line)


def _draw_leaks(found: Leaks, images: dict[int, Image], sheet: Path) -> None:
    from curator.drawing.sheets import Section, Tile, save_sheet

    sections = [
        Section(
            "", [Tile(images[i].path, side, f"id:{i}  {images[i].path.name}") for i, side in sorted(leak.sides.items())]
        )
        for leak in found.leaks[:60]
    ]
    written = save_sheet(sections, sheet)
    say(f"Sheet: {written}")


@click.command("issues")
@click.argument("kinds", nargs=-1)
@index_option
@where_option
@click.option("--paths", is_flag=True, help="Print paths only, a line each.")
@sheet_option("the worst of each kind")
@json_option
def issues_command(
    *, kinds: tuple[str, ...], name: str | None, where: str | None, paths: bool, sheet: Path | None, as_json: bool
) -> None:
    """List pictures that stand out as bad.

    They are blank, dark, bright, blurred, of odd size or shape; or only of the KINDS named.

    The columns behind it, sharpness, brightness, contrast, entropy, width, height and aspect, can be used in --where.
    Exit code 1 if there are any.
    """
    from curator.cleaning.issues import find_issues

    with opened(name) as index:
        found_issues = find_issues(index, kinds, where=where)
        images = {i.id: i for i in index.images(sorted({i for issue in found_issues for i in issue.ids}))}
    if as_json:
        print_json(
            {
                f.name: [
                    {"id": i, "path": str(images[i].path), "value": v} for i, v in zip(f.ids, f.values, strict=True)
                ]
                for f in found_issues
            }
        )
    elif paths:
        for image in images.values():
            echo(str(image.path))
    else:
        _print_issues(found_issues, images)
    if sheet:
        _draw_issues(found_issues, images, sheet)
    sys.exit(1 if images else 0)


def _print_issues(found: list[Issue], images: dict[int, Image]) -> None:
    echo(table([(f.name, len(f.ids), f.rule) for f in found], ("issue", "images", "rule")))
    for f in found:
        for image_id, value in list(zip(f.ids, f.values, strict=True))[:_SHOWN]:
            echo(f"  {f.name:<10} id:{image_id:<7} {value:<20} {images[image_id].path}")
        if len(f.ids) > _SHOWN:
            echo(f"  … and {len(f.ids) - _SHOWN} more {f.name}")


def _draw_issues(found: list[Issue], images: dict[int, Image], sheet: Path) -> None:
    from curator.drawing.sheets import Section, Tile, save_sheet

    sections = [
        Section(
            f"{f.name}: {len(f.ids)} ({f.rule})",
            [Tile(images[i].path, v, f"id:{i}") for i, v in list(zip(f.ids, f.values, strict=True))[:12]],
        )
        for f in found
        if f.ids
    ]
    written = save_sheet(sections, sheet)
    say(f"Sheet: {written}")


COMMANDS = (calibrate_command, leaks_command, issues_command)
