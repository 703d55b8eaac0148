"""Asking an index: queries by words and pictures, and the facts that every face shows."""
