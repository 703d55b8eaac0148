"""Commands for more pictures than one machine holds: a set of shards, a cluster to make it, services that search it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from curator.cli.face import echo, print_json, say, table, working
from curator.cli.options import (
    FiniteRange,
    json_option,
    stack,
)
from curator.texts import plural

if TYPE_CHECKING:
    from curator.scale.executor import Executor

workers_options = stack(
    click.option("--on", "where", default="local", show_default=True, metavar="local|auto|HOST:6379|ray://HOST:10001",
        help="Processes of this machine, or a Ray cluster."),
    click.option("--workers", default="", metavar="N|MIN:MAX", help="How many. [default: as there are cores]"),
    click.option("--trusted-network", is_flag=True, help="Use a cluster that asks for no token."),
)  # fmt: skip


@click.group("scale")
def scale_group() -> None:
    """Work on more pictures than one machine holds.

    A set is a folder or a bucket with a plan, shards and receipts: `plan`, `embed`, then `dedupe`, `select` and
    `bring`. Every command goes on where it was cut off. See `curator guide scale`.
    """


@contextmanager
def executor_of(where: str, workers: str, *, trusted_network: bool, gpus: float = 0.0) -> Iterator[Executor]:
    """Whoever `--on` names, until the end of the block. Raises `ExtraMissing`, `ExecutorLost`."""
    from curator.scale.executor import LocalExecutor, Workers

    least, _, most = workers.partition(":")
    try:
        asked = Workers(int(least or 1), int(most or least or 0), gpus)
    except ValueError as error:
        raise click.UsageError(f"--workers takes a number, or two as in 2:16, not {workers!r}") from error
    if where == "local":
        yield LocalExecutor(asked)
        return
    from curator.scale.ray import RayExecutor

    executor = RayExecutor(where, asked, trusted_network=trusted_network)
    try:
        yield executor
    finally:
        executor.close()


@scale_group.command("plan")
@click.argument("source")
@click.argument("place", metavar="SET")
@click.option("--shard-size", type=click.IntRange(1, 1 << 20), help="Pictures of a shard. [default: 2048]")
@click.option("--label-from", metavar="folder|COLUMN", help="As for `curator index`.")
@click.option("--label-from-name", metavar="REGEX", help="As for `curator index`.")
@click.option("--table", type=click.Path(dir_okay=False), help="As for `curator index`; of a folder here.")
@click.option("--dry-run", is_flag=True, help="Say what would be planned.")
@json_option
def plan_command(
    source: str, place: str, *, shard_size: int | None, dry_run: bool, as_json: bool, **options: str | None
) -> None:
    """Settle which picture is in which shard.

    SOURCE is a folder, a bucket (s3://bucket/photos), tar shards ('shards/{00000..00999}.tar'), or a table with a
    column `uri` (CSV, JSON lines, Parquet). Run again, it plans what is new, and what has changed anew.
    """
    from curator.scale.plan import SHARD_SIZE, make_plan

    chosen = {k: v for k, v in options.items() if v}
    with working() as job:
        report = make_plan(source, place, shard_size=shard_size or SHARD_SIZE, options=chosen, dry_run=dry_run, job=job)
    for remark in report.remarks:
        say(f"Note: {remark}.")
    if as_json:
        print_json(asdict(report))
        return
    what = "tar" if report.kind == "tars" else "picture"
    size = f", {report.bytes / 1e6:,.0f} MB" if report.bytes else ""
    parts = [f"{plural(report.new, what)}{size} in {plural(report.shards, 'new shard')}"]
    parts += [f"{n} {k}" for k, n in (("known", report.known), ("changed", report.changed), ("gone", report.gone)) if n]
    echo(f"{'Would plan' if dry_run else 'Planned'} {'; '.join(parts)}.")


@scale_group.command("embed")
@click.argument("place", metavar="SET")
@click.option("--encoder", "-e", help="As for `curator index`; a set has one for good.")
@workers_options
@click.option("--gpus-per-worker", "gpus", type=FiniteRange(0), default=0.0, help="Of a Ray cluster; untested.")
@click.option("--retry-skipped", is_flag=True, help="Read again what could not be read for a passing reason.")
@json_option
def embed_command(
    place: str, *, encoder: str | None, where: str, workers: str, trusted_network: bool, gpus: float,
    retry_skipped: bool, as_json: bool,
) -> None:  # fmt: skip
    """Embed every shard that is missing."""
    from curator.scale.drive import embed_set

    with working() as job, executor_of(where, workers, trusted_network=trusted_network, gpus=gpus) as executor:
        report = embed_set(place, encoder, executor, retry_skipped=retry_skipped, gpu=gpus > 0, job=job)
    if as_json:
        print_json(asdict(report) | {"complete": report.complete})
    else:
        rate = f", {report.rows / report.seconds:.0f} images/s" if report.rows and report.seconds else ""
        echo(
            f"{report.already + report.done} of {plural(report.shards, 'shard')} done, {report.done} of them now: "
            f"{report.rows} rows, {report.skipped} skipped in {report.seconds:.1f} s{rate}."
        )
    for shard, reason in sorted(report.failed.items())[:10]:
        say(f"Failed: shard {shard}: {reason}")
    if report.interrupted:
        say("Interrupted; every shard with a receipt is kept. Run the same command again to go on.")
        sys.exit(130)
    sys.exit(1 if report.failed or report.skipped else 0)


@scale_group.command("status")
@click.argument("place", metavar="SET")
@click.option("--skipped", "show", is_flag=True, help="List the pictures without a row, and why.")
@json_option
def status_command(place: str, *, show: bool, as_json: bool) -> None:
    """Say how far a set is; only receipts are read."""
    from curator.scale.checking import set_status, skipped_of

    if show:
        rows = list(skipped_of(place))
        if as_json:
            print_json([{"shard": shard, "uri": uri, "reason": reason} for shard, uri, reason in rows])
        else:
            echo(table(rows, ("shard", "uri", "reason")))
        return
    status = set_status(place)
    facts = status.facts
    if as_json:
        print_json({k: v for k, v in asdict(status).items() if k != "facts"} | {
            "source": facts.source, "encoder": facts.encoder, "shards": facts.shards, "planned": facts.planned,
            "shard_size": facts.shard_size,
        })  # fmt: skip
        return
    lines = [
        ("source", facts.source), ("encoder", facts.encoder or "none yet"),
        ("planned", f"{facts.planned:,} {facts.kind}"),
        ("shards", f"{status.shards_done} of {facts.shards}"), ("rows", f"{status.rows:,}"),
        ("bytes", f"{status.bytes / 1e6:,.1f} MB"),
        *((f"skipped: {reason}", f"{count:,}") for reason, count in status.skipped.items()),
        *(("made of it", name) for name in status.datasets),
    ]  # fmt: skip
    if status.images_per_second:
        lines.append(("a worker does", f"{status.images_per_second:.0f} images/s"))
    if status.hours_left:
        lines.append(("left, for one worker", f"{status.hours_left:.2f} h"))
    echo("\n".join(f"{name:24} {value}" for name, value in lines))


@scale_group.command("verify")
@click.argument("place", metavar="SET")
@click.option("--deep", type=FiniteRange(0, 1), default=0.0, help="Share of the rows to read and encode again.")
@click.option("--clean", is_flag=True, help="Remove files that no receipt names, older than a day.")
@json_option
def verify_command(place: str, *, deep: float, clean: bool, as_json: bool) -> None:
    """Check every byte of a set."""
    from curator.scale.checking import verify_set

    with working() as job:
        findings = list(verify_set(place, deep=deep, clean=clean, job=job))
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        for f in findings:
            echo(f"{f.place}: {f.problem}")
        echo(
            "All is as it was written."
            if not findings
            else f"{plural(len(findings), 'finding')}; `curator scale embed` makes lost shards again."
        )
    sys.exit(1 if findings else 0)
