"""Computes numbers from a trace: phases, compiler work, compiled graphs."""
