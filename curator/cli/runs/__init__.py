"""Commands that train and use what was trained: train, generate, reconstruct, runs."""

from curator.cli.runs.generate import generate_command, reconstruct_command
from curator.cli.runs.runs import export_run, runs_group, show_run
from curator.cli.runs.train import train_group

COMMANDS = (train_group, generate_command, reconstruct_command, runs_group)

__all__ = ["COMMANDS", "export_run", "show_run"]
