"""Measuring what a run made: both sides of a measurement, metrics, copies of training images, the report."""
