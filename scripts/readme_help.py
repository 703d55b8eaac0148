"""Write the generated parts of the README: help of every command, the table of encoders. `--check` only compares.

A generated part stands between `<!-- begin NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from curator.cli import cli
from curator.encoders import describe_encoders

README = Path(__file__).parent.parent / "README.md"


def help_of(command: click.Command, *names: str) -> str:
    """The help text as a terminal of 100 columns shows it."""
    context = click.Context(
        command, info_name=" ".join(("curator", *names)), terminal_width=100, help_option_names=["-h", "--help"]
    )
    return f"```text\n$ curator {' '.join((*names, '--help'))}\n{command.get_help(context)}\n```"


def encoder_table() -> str:
    """Facts from the catalogue, so that code and README agree."""
    head = (
        "| name | model | dims | download | ImageNet zero-shot | images/s | good for |\n|---|---|--:|--:|--:|--:|---|"
    )
    rows = []
    for r in describe_encoders():
        size = f"{r['megabytes']} MB" if r["megabytes"] else "bundled"
        accuracy = f"{r['accuracy']} %" if r["accuracy"] else "–"
        rows.append(
            f"| `{r['name']}` | {r['model']} | {r['dim']} | {size} | {accuracy} | {r['images_per_second'] or '–'} | "
            f"{r['good_for']} |"
        )
    return "\n".join([head, *rows])


def commands() -> str:
    """Every command and its sentence."""
    rows = [f"| `{name}` | {c.get_short_help_str(200)} |" for name, c in sorted(cli.commands.items())]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def generated(text: str) -> str:
    """The README with its generated parts made anew."""
    parts = {"commands": commands(), "encoders": encoder_table()}
    parts |= {f"help {name}": help_of(cli.commands[name], name) for name in ("index", "search", "dedupe", "select")}

    def replace(match: re.Match[str]) -> str:
        return f"<!-- begin {match[1]} -->\n{parts[match[1]]}\n<!-- end -->"

    return re.sub(r"<!-- begin ([a-z ]+) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


def main() -> None:
    before = README.read_text()
    after = generated(before)
    if "--check" in sys.argv:
        if before != after:
            raise SystemExit("README.md is behind the code; run scripts/readme_help.py")
    else:
        README.write_text(after)


if __name__ == "__main__":
    main()
