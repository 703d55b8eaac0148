"""Commands that use what was trained: generate, reconstruct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from curator.cli import completing
from curator.cli.face import echo, opened, print_json, say, working
from curator.cli.options import (
    FiniteNumber,
    index_option,
    json_option,
    output_option,
    refuse_named,
    selection_option,
    sheet_option,
)
from curator.texts import plural


@click.command("generate")
@click.argument("named", metavar="[RUN]", default="latest", shell_complete=completing.runs)
@index_option
@click.option("-n", type=int, help="How many pictures. [default: 64; 6 to --interpolate; all with --from]")
@click.option("--label", help="Of a run with --condition label: make this one. [default: each in turn]")
@click.option("--like", metavar="ID|PATH", help="Of a run with --condition embedding: make what looks like this.")
@click.option("--text", help="Of a run with --condition embedding: make what fits these words.")
@click.option("--mix", nargs=2, metavar="A B", help="Make what lies between two images, or labels.")
@click.option("--from", "source", metavar="FILE|IMAGES", help="Of a pix2pix: draw what these become.")
@click.option("--as-is", is_flag=True, help="With --from: take pictures as they are: a sketch, one half alone.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first picture; the next has the next.")
@click.option(
    "--psi", type=FiniteNumber(), default=1.0, show_default=True, help="Below 1: likelier pictures, of fewer kinds."
)
@click.option("--sampler", help="Of a vae: gmm, normal, two-stage or near (between training images). [default: gmm]")
@click.option("--checkpoint", default="best", show_default=True, help="best, latest, or images seen.")
@output_option("Where to. [default: generated/ in the run's folder]", folder=True)
@click.option("--no-index", is_flag=True, help="Do not put the pictures into the index.")
@click.option(
    "--interpolate",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a strip (.png) or animation (.webp) instead.",
)
@json_option
def generate_command(
    *,
    named: str,
    name: str | None,
    output: Path | None,
    no_index: bool,
    interpolate: Path | None,
    as_json: bool,
    n: int | None,
    mix: tuple[str, str] | None,
    source: str | None,
    as_is: bool,
    **given: Any,
) -> None:
    """Make pictures with a run.

    Each has a seed of its own, and they go into the index as generated.
    RUN is a name, a number, a folder, or the latest. Their columns are run, checkpoint, seed, condition, label and how
    they were drawn; with --from run, checkpoint, input and label.
    """
    from curator.runs.generate import Asked, generate, write_interpolation
    from curator.runs.lookup import find_generator

    if source is not None:
        refuse_named(
            "--from draws pictures of pictures", "seed", "psi", "label", "like", "text", "mix", "sampler", "interpolate"
        )
        _translate(named, name, (source, as_is), n=n, output=output, no_index=no_index, as_json=as_json,
                   checkpoint=given["checkpoint"])  # fmt: skip
        return
    if interpolate:
        refuse_named("--interpolate writes one file", "output", "no_index", "as_json")
    if given["sampler"] == "near":
        refuse_named("--sampler near draws between training images", "psi")
    if as_is:
        raise click.UsageError("--as-is goes with --from")
    asked = Asked(n=n if n is not None else 6 if interpolate else 64, mix=mix or None, **given)
    with opened(name) as index, working() as job:
        run = find_generator(index, named)
        if interpolate:
            write_interpolation(index, run, asked, interpolate)
            say(f"Interpolation: {interpolate}")
            return
        done = generate(index, run, asked, target=output, add=not no_index, job=job)
    if done.is_collapsed:
        say(
            f"Warning: these {plural(len(done.files), 'picture')} look the same, though their seeds differ: the "
            "generator has collapsed for what was asked, or --psi is near 0. Try another --checkpoint, or train longer."
        )
    _tell(run.name, done, as_json=as_json)


def _translate(
    named: str, name: str | None, what: tuple[str, bool], *, n: int | None, output: Path | None, no_index: bool,
    as_json: bool, checkpoint: str,
) -> None:  # fmt: skip
    from curator.runs.lookup import find_generator
    from curator.runs.translate import Translation, translate

    source, as_is = what
    with opened(name) as index, working() as job:
        run = find_generator(index, named, from_pictures=True)
        asked = Translation(source, checkpoint, as_is, n)
        done = translate(index, run, asked, target=output, add=not no_index, job=job)
    _tell(run.name, done, as_json=as_json)


def _tell(run: str, done: Any, *, as_json: bool) -> None:
    if as_json:
        facts = {"run": run, "files": [str(f) for f in done.files], "grid": str(done.grid)}
        print_json(facts | {"collapsed": done.is_collapsed})
        return
    added = f", {done.report.new} new in the index" if done.report else ""
    echo(f"{plural(len(done.files), 'picture')} in {done.files[0].parent}{added}.")
    echo(f"Grid: {done.grid}")


@click.command("reconstruct")
@click.argument("named", metavar="[RUN]", default="latest", shell_complete=completing.runs)
@index_option
@selection_option("Which images. [default: all real ones]")
@click.option("--latents", type=click.Path(path_type=Path, dir_okay=False), help="Write latents to a .npy file.")
@sheet_option("the best and the worst, each beside its reconstruction")
@json_option
def reconstruct_command(
    named: str, *, name: str | None, selection: str | None, latents: Path | None, sheet: Path | None, as_json: bool
) -> None:
    """Encode images with a VAE and back.

    The error becomes the column reconstruction_error, which is high for what does not belong.
    """
    import numpy as np

    from curator.drawing.sheets import save_sheet
    from curator.runs.apply import encode, save_latents, sections_of
    from curator.runs.lookup import run_of

    with opened(name) as index, working() as job:
        encoded = encode(index, run_of(index, named, trainer="vae"), named=selection, job=job)
        sections = sections_of(index, encoded) if sheet else []
    if latents:
        save_latents(encoded, latents)
    if sheet:
        say(f"Sheet: {save_sheet(sections, sheet)}")
    low, middle, high = (float(v) for v in np.quantile(encoded.errors, (0, 0.5, 1)))
    facts = {
        "images": len(encoded.ids),
        "latents": encoded.latents.shape[1],
        "least": low,
        "median": middle,
        "most": high,
    }
    if as_json:
        print_json(facts)
    else:
        echo(
            f"{plural(len(encoded.ids), 'image')}, {encoded.latents.shape[1]} latents; "
            f"error {low:.1f} to {high:.1f} of 255."
        )
        echo('Try `curator search WORDS --where "reconstruction_error > …"`, or the same in `curator select`.')
