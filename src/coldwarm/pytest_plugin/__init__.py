"""The pytest plugin: the catalog as tests, and fixtures."""
