"""Starts processes: caches, environment, process trees, start methods."""
