"""Cleaning an index: duplicates, verdicts, quarantine with an undo, leaks, outliers."""
