"""Commands that train and use what was trained: train, generate, reconstruct, runs."""

from curator.cli.runs.generate import generate, reconstruct
from curator.cli.runs.runs import runs, show_run
from curator.cli.runs.train import train

COMMANDS = (train, generate, reconstruct, runs)

__all__ = ["COMMANDS", "show_run"]
