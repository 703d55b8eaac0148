"""Commands that select: select, preview, export, selections."""

from curator.cli.selection import select, sets

COMMANDS = (*select.COMMANDS, *sets.COMMANDS)
