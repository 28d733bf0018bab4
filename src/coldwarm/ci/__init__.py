"""Generates steps of CI pipelines that run the suite, for each supported CI system."""
