"""Observes one process from within: counters, logs, memory, bytecode, progress, files."""
