"""Finds the first of several versions of an engine that breaks a check."""
