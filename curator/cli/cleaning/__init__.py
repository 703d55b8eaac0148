"""Commands that clean: dedupe, decide, quarantine, restore, calibrate, leaks, issues."""

from curator.cli.cleaning import checks, clusters, duplicates

COMMANDS = (*duplicates.COMMANDS, *clusters.COMMANDS, *checks.COMMANDS)
