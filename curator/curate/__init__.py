"""Curating an index: find duplicates, decide about them, clean up with an undo, find leaks and outliers."""
