"""The command line: parse, call one function of the library, print. Heavy imports wait until a command runs."""

from __future__ import annotations

import io
import sys

import click

from curator.cli import (
    admin,
    cleaning,
    completion,
    encoders,
    evaluation,
    guide,
    ingest,
    labelling,
    loop,
    maps,
    runs,
    scale,
    search,
    selection,
    web,
)
from curator.cli.face import Face

SECTIONS = (
    ("Ingest", ingest.COMMANDS),
    ("Search", (*search.COMMANDS, *maps.COMMANDS, *web.COMMANDS)),
    ("Clean", cleaning.COMMANDS),
    ("Select", selection.COMMANDS),
    ("Label", labelling.COMMANDS),
    ("Train and generate", runs.COMMANDS),
    ("Evaluate", (*evaluation.COMMANDS, *loop.COMMANDS)),
    ("Beyond one machine", scale.COMMANDS),
    ("Keep in order", (*admin.COMMANDS, *encoders.COMMANDS, *guide.COMMANDS, *completion.COMMANDS)),
)


@click.group(cls=Face, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="image-curator")
def cli() -> None:
    """Index folders of images, search them by words or pictures, curate training data.

    Start with `curator demo`, or `curator index FOLDER` and then `curator search WORDS`; `curator guide` explains. Exit
    codes: 0 fine, 1 findings (nothing found, pictures differ, checks failed), 2 could not run.
    """


cli.sections = SECTIONS
for _, commands in SECTIONS:
    for command in commands:
        cli.add_command(command)
cli.add_command(labelling.FORMER)


def main() -> None:
    """Entry point of the `curator` command."""
    # A file's name need not be valid UTF-8, and must come out as the bytes it is.
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    cli(prog_name="curator")
