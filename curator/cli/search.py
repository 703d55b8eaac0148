"""Commands that ask: search, compare, show, status, skipped."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import click

from curator.cli.face import echo, folder_of, opened, print_json, say, table, working
from curator.cli.hits import draw_hits, print_hits, summary_of
from curator.cli.options import (
    FiniteRange,
    index_option,
    json_option,
    sheet_option,
    where_option,
)
from curator.cli.runs import show_run
from curator.errors import CuratorError, UsageError
from curator.texts import to_json

PAGE = "CURATOR_PAGE"  # set to let a page that runs on the index answer queries


@click.command("search")
@click.argument("query", nargs=-1)
@index_option
@click.option("-n", "k", type=click.IntRange(1), default=20, show_default=True, help="How many hits.")
@where_option
@click.option("--label", help="Only images with this label.")
@click.option("--origin", type=click.Choice(["real", "generated"]), help="Only real or only generated images.")
@click.option("--tag", help="Only images with this tag.")
@click.option("--min-score", type=FiniteRange(-1, 1), help="Least inner product.")
@click.option("--min-confidence", type=FiniteRange(0, 1), help="Least confidence; see `curator guide search`.")
@click.option("--unique", is_flag=True, help="One image per content: byte-identical copies count once.")
@json_option
@click.option("--jsonl", is_flag=True, help="Print one JSON object per line.")
@click.option("--paths", is_flag=True, help="Print paths only, a line each.")
@click.option("-0", "null", is_flag=True, help="Print paths only, each ended by a NUL, for `xargs -0`.")
@click.option("--on", "service", metavar="URL", help="Ask a service, as postgres://HOST/DB?set=NAME.")
@click.option("--exact", is_flag=True, help="Compare every match, as a small index does.")
@sheet_option("the hits")
@click.option("--open", "show", is_flag=True, help="Open the contact sheet.")
@click.option(
    "--batch", type=click.File(encoding="utf-8-sig"), help="Ask every line of a file; prints a JSON line for each."
)
def search_command(
    *, query: tuple[str, ...], name: str | None, as_json: bool, jsonl: bool, paths: bool, null: bool,
    sheet: Path | None, show: bool, service: str | None, batch: TextIO | None, **question: object,
) -> None:  # fmt: skip
    """Find the images nearest to a query.

    \b
    words             curator search red sneakers
    a picture         curator search ./shoe.jpg         (or - for one on standard input)
    an image by id    curator search id:123
    a mixture         curator search "2:golden retriever" + ./pool.jpg - fruit

    With CURATOR_PAGE=1 in the environment a `curator web` that runs on the index answers, which has all loaded.
    """
    if batch is not None:
        if query or sheet or show or paths or null:
            raise click.UsageError("--batch asks what stands in its file, and prints JSON lines; leave the rest out")
        sys.exit(_search_lines(service or name, batch, question))
    # One query keeps one core busy; starting numpy's threads would cost more than the search.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    answer = None if service or sheet or show else _asked_page(name, query, question)
    draw = None
    if answer is None:
        answer, draw = _searched(service or name, query, question)
    print_hits(answer["hits"], as_json=as_json, jsonl=jsonl, paths=paths, null=null)
    if draw and (sheet or (show and answer["hits"])):
        target = sheet or Path(tempfile.mkdtemp(prefix="curator-")) / "search.png"
        draw(target)
        if show:
            click.launch(str(target))
    say(summary_of(answer))
    sys.exit(0 if answer["hits"] else 1)


def _asked_page(name: str | None, query: tuple[str, ...], question: dict[str, object]) -> dict[str, Any] | None:
    """The answer of a page that runs on this index, if `CURATOR_PAGE` says to ask one and the query opens no file."""
    if not os.environ.get(PAGE) or question["exact"] or "-" in query[-1:]:
        return None
    words = [*query, *(word.rpartition(":")[2] for word in " ".join(query).split())]  # weights come before a colon
    if any(map(os.path.isfile, words)):
        return None
    if "://" in (name or os.environ.get("CURATOR_INDEX", "")):
        return None
    from curator.files import locate
    from curator.web.beside import ask_beside

    limits = {k: v for k, v in question.items() if k != "exact"}
    answer = ask_beside(locate(name), {"words": list(query), "question": limits})
    if answer is not None:
        folder_of(name)  # says which index it is
        say("Answered by the page that runs on this index.")
    return answer


def _searched(
    name: str | None, query: tuple[str, ...], question: dict[str, object]
) -> tuple[dict[str, Any], Callable[[Path], None]]:
    """The answer of this process, and what draws its hits as a sheet."""
    from curator.search.query import Question, parse_query, search
    from curator.search.rows import answer_facts

    terms = parse_query(query)
    stdin = sys.stdin.buffer.read() if any(t.kind == "stdin" for t in terms) else b""
    with opened(name) as index:
        hits = search(index, terms, Question(**question), stdin=stdin)  # type: ignore[arg-type]
        images = index.images(hits.ids)
    return answer_facts(hits, images), lambda target: draw_hits(" ".join(query), hits, images, target)


def _search_lines(name: str | None, batch: TextIO, question: dict[str, object]) -> int:
    """Every line answered, errors in their places → exit code, 1 where a line has one."""
    from curator.search.batch import search_lines
    from curator.search.query import Question
    from curator.search.rows import hit_rows

    code = 0
    try:
        lines = batch.read().split("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"{batch.name} is not UTF-8 text, which --batch takes: {error}") from error
    with opened(name) as index:
        for query, hits in search_lines(index, lines, Question(**question)):  # type: ignore[arg-type]
            if isinstance(hits, CuratorError):
                code = 1
                click.echo(to_json({"query": query, "error": str(hits)}, ensure_ascii=False))
            else:
                click.echo(
                    to_json({"query": query, "hits": hit_rows(hits, index.images(hits.ids))}, ensure_ascii=False)
                )
    return code


@click.command("compare")
@click.argument("a")
@click.argument("b")
@index_option
@click.option("--encoder", "-e", help="Compare in this encoder's space, without an index.")
@click.option(
    "--threshold", type=FiniteRange(-1, 1), default=0.95, show_default=True,
    help="Inner product from which A and B count as the same.",
)  # fmt: skip
@json_option
def compare_command(*, a: str, b: str, name: str | None, encoder: str | None, threshold: float, as_json: bool) -> None:
    """Compare two pictures, words or ids.

    Prints the inner product of their directions, the angle between them, and both lengths. Exit code 0 if they are the
    same at --threshold, 1 if they differ. What a score means depends on the encoder: two unrelated photos score 0.2 to
    0.6 with most CLIP models.

    Of two images of the index it also shows every stage of `curator dedupe`, whatever those before it say: hash, rank
    by vector, corners, the first look, the pixels; and which one said no.
    """
    from curator.cleaning.explain import explain, facts_of
    from curator.encoders import load_encoder
    from curator.errors import CuratorError
    from curator.search.query import compare_in, compare_two, indexed, parse_query

    terms = [parse_query([t])[0] for t in (a, b)]
    explained = None
    if encoder:
        result = compare_in(load_encoder(encoder), *terms)
    else:
        with opened(name) as index:
            result = compare_two(index, *terms)
            ids = [indexed(index, term) for term in terms]
            if ids[0] is not None and ids[1] is not None and ids[0] != ids[1]:
                try:
                    with working() as job:
                        explained = explain(index, ids[0], ids[1], job=job)
                except CuratorError as error:  # a file that is gone, say: the numbers are told all the same
                    say(f"As duplicates they cannot be looked at: {error}")
    same = result.inner_product >= threshold
    if as_json:
        more = {"duplicates": facts_of(explained)} if explained else {}
        print_json(asdict(result) | {"threshold": threshold, "same": same} | more)
    else:
        echo(
            f"inner product {result.inner_product:.4f}   angle {result.angle_degrees:.2f}°   "
            f"lengths {result.lengths[0]:.3f}, {result.lengths[1]:.3f}"
        )
        echo(f"{'same' if same else 'different'} at {threshold}")
        if explained:
            rows = [(s.name, "yes" if s.speaks_for else "no", s.seen) for s in explained.stages]
            echo(f"\n{table(rows, ('as duplicates', '', 'seen'))}\n\n{explained.because}.")
    sys.exit(0 if same else 1)


@click.command("show")
@click.argument("images", nargs=-1, required=True, metavar="ID|PATH|RUN...")
@index_option
@json_option
def show_command(images: tuple[str, ...], name: str | None, as_json: bool) -> None:
    """Show all that is known of images or a run.

    Images are named by id or path, a training run by name.
    """
    from curator.index.images import find_ids
    from curator.runs.lookup import find_named
    from curator.search.facts import image_facts

    with opened(name) as index:
        if len(images) == 1 and (run := find_named(index, images[0])):
            show_run(run, as_json=as_json)
            return
        known = image_facts(index, find_ids(index, images))
    facts: list[dict[str, Any]] = [
        asdict(k.image)
        | {"tags": list(k.image.tags), "extra": dict(k.image.extra)}
        | {"computed": dict(k.computed), "selections": list(k.selections), "state": k.state}
        for k in known
    ]
    if as_json:
        print_json(facts)
        return
    for image in facts:
        extra, computed = image.pop("extra"), image.pop("computed")
        for key, value in (image | extra | computed).items():
            if value not in (None, [], ""):
                echo(f"{key:>10}  {' '.join(value) if isinstance(value, list) else value}")
        echo()


@click.command("status")
@index_option
@json_option
def status_command(name: str | None, as_json: bool) -> None:
    """Say what is in an index.

    Counts, roots, spaces, labels, and the columns that a condition may use.
    """
    from curator.search.facts import status

    with opened(name) as index:
        facts = status(index)
    if as_json:
        print_json(asdict(facts))
        return
    counts = facts.counts
    echo(f"Index    {facts.folder}")
    echo(
        f"Images   {counts['images']} ({counts['contents']} different), {counts['removed']} removed, "
        f"{counts['skipped']} skipped"
    )
    for root in facts.roots:
        echo(f"Root     {root.path}{'' if root.reachable else '  (not reachable now)'}")
    for space in facts.spaces:
        mark = "*" if space.active else " "
        numbers = f" from {' and '.join(space.precisions)}" if space.precisions else ""
        echo(f"Space  {mark} {space.encoder}, {space.dim} dims{numbers}, {space.missing} images without a vector")
    for column, values in facts.values.items():
        shown = ", ".join(f"{v} {n}" for v, n in values[:12]) + (" …" if len(values) > 12 else "")
        echo(f"{column.capitalize():<8} {shown}" if values else f"{column.capitalize():<8} none")
    echo(f"Columns  {', '.join(facts.columns)}")
    for file in facts.damaged:
        echo(f"Damaged  {file}  (kept by `curator repair`; delete it once nothing is missed)")


@click.command("skipped")
@index_option
@json_option
def skipped_command(name: str | None, as_json: bool) -> None:
    """List files that could not be read.

    Each with its reason. They are read again when they change, or with `curator index --retry`.
    """
    from curator.search.facts import skipped

    with opened(name) as index:
        files = skipped(index)
    if as_json:
        print_json([asdict(f) for f in files])
    else:
        rows = [(f.reason, f.path) for f in files]
        echo(table(rows, ("reason", "path")) if files else "No file was skipped.")
    sys.exit(1 if files else 0)


COMMANDS = (search_command, compare_command, show_command, status_command, skipped_command)
