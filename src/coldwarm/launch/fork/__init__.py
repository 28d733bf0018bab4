"""Forks starts from a process that has already imported the engine."""
