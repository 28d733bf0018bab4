"""Reads the graphs of a trace, names their parts, and compares them."""
