"""Commands that clean: dedupe, decide, quarantine, restore, calibrate, leaks, issues."""

from curator.cli.cleaning import checks, clusters, duplicates, quarantine

COMMANDS = (*duplicates.COMMANDS, *quarantine.COMMANDS, *clusters.COMMANDS, *checks.COMMANDS)
