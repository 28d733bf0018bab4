"""The catalog of models: published configs, how to shrink them, and their expected counters."""
