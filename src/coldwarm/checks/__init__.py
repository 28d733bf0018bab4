"""Judges the records of a run."""
