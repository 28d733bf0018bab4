"""Starts processes by forking one that has the engine imported."""
