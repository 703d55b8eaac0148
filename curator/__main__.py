"""`curator` and `python -m curator`: the command line, which Ctrl-C ends quietly also while it is still loading."""

from __future__ import annotations

import signal


def main() -> None:
    """Load and run it."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback out of an import
    from curator import cli

    signal.signal(signal.SIGINT, before)
    cli.main()


if __name__ == "__main__":
    main()
