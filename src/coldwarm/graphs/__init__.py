"""Reads the graphs in a trace, groups and names identical subgraphs, and compares different ones."""
