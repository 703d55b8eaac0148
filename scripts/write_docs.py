"""Write the generated parts of the documents: the reference, the table of encoders, the list of pages.

A generated part stands between `<!-- begin NAME -->` and `<!-- end -->`; the reference is generated as a whole.
`--check` only compares.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from curator.cleaning.issues import checks
from curator.cleaning.keepers import keep_rules
from curator.cli import SECTIONS
from curator.duplicates import KINDS
from curator.encoders import describe_encoders, encoders
from curator.guide import PAGES
from curator.metrics import metrics
from curator.selection.export import forms
from curator.selectors import scorers, selectors
from curator.training.options import AUGMENTS, OPTIMISERS
from curator.training.samplers import SAMPLERS
from curator.training.trainers import TRAINERS

HOME = Path(__file__).parent.parent
GUIDE = HOME / "curator" / "guide"


def help_of(command: click.Command, names: tuple[str, ...]) -> str:
    """The help text as a terminal of 100 columns shows it."""
    context = click.Context(
        command, info_name=" ".join(("curator", *names)), terminal_width=100, help_option_names=["-h", "--help"]
    )
    return f"```text\n{command.get_help(context)}\n```"


def walk(command: click.Command, *names: str) -> Iterable[tuple[tuple[str, ...], click.Command]]:
    """A command and its subcommands."""
    yield names, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from walk(inner, *names, name)


def encoder_table() -> str:
    """Facts from the catalogue, so that code and guide agree."""
    rows = [
        "| name | model | dims | download | ImageNet zero-shot | images/s | good for |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for r in describe_encoders():
        size = f"{r['megabytes']} MB" if r["megabytes"] else "bundled"
        accuracy = f"{r['accuracy']} %" if r["accuracy"] else "–"
        pace = r["images_per_second"] or "–"
        rows.append(f"| `{r['name']}` | {r['model']} | {r['dim']} | {size} | {accuracy} | {pace} | {r['good_for']} |")
    return "\n".join(rows)


def pages() -> str:
    """The pages of the guide."""
    return "\n".join(f"| [{name}](curator/guide/{name}.md) | {title} |" for name, title in PAGES.items())


def reference() -> str:
    """Every command with its help, and every part that has a name."""
    lines = ["# Reference", "", "Generated from the code: every command, then every part that has a name.", ""]
    for title, commands in SECTIONS:
        lines += [f"## {title}", ""]
        for command in commands:
            for names, inner in walk(command, str(command.name)):
                lines += [f"### `curator {' '.join(names)}`", "", help_of(inner, names), ""]
    lines += ["## Parts", "", "| kind | names |", "|---|---|"]
    parts: Mapping[str, Iterable[str]] = {
        "encoders": encoders,
        "kinds of duplicates": KINDS,
        "keep rules": keep_rules,
        "issues": checks,
        "selectors": selectors,
        "scores": scorers,
        "forms of export": forms,
        "metrics": metrics,
        "trainers": TRAINERS,
        "optimisers": OPTIMISERS,
        "augmentations": AUGMENTS,
        "samplers of a VAE": SAMPLERS,
    }
    lines += [f"| {kind} | {', '.join(f'`{name}`' for name in names)} |" for kind, names in parts.items()]
    return "\n".join(lines) + "\n"


def generated(text: str) -> str:
    """A document with its generated parts made anew."""
    parts = {"encoders": encoder_table, "pages": pages}

    def replace(match: re.Match[str]) -> str:
        return f"<!-- begin {match[1]} -->\n{parts[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- begin ([a-z]+) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


def main() -> None:
    """Write, or with `--check` compare."""
    documents = {GUIDE / "reference.md": reference()}
    for file in (HOME / "README.md", GUIDE / "encoders.md"):
        documents[file] = generated(file.read_text())
    behind = [file for file, text in documents.items() if not file.is_file() or file.read_text() != text]
    if "--check" in sys.argv:
        if behind:
            names = ", ".join(file.name for file in behind)
            raise SystemExit(f"{names} is behind the code; run scripts/write_docs.py")
        return
    for file in behind:
        file.write_text(documents[file])


if __name__ == "__main__":
    main()
