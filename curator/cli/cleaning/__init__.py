"""Commands that clean: dedupe, decide, quarantine, restore, calibrate, leaks, issues."""

from curator.cli.cleaning import checks, duplicates

COMMANDS = (*duplicates.COMMANDS, *checks.COMMANDS)
