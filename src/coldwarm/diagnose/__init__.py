"""Explains why subgraphs are not shared and why a warm start compiles."""
