"""Compares runs: counts, key components and findings exactly, seconds with rank tests; finds steps in a history."""
