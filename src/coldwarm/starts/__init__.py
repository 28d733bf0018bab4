"""Starts a model in a process of its own, with caches of its own, and records what happened."""
