"""Runs: train on images of an index, generate, and apply what was trained."""
