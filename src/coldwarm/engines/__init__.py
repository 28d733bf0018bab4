"""What starts a model: one folder an engine, behind the small protocol of `engine.py`."""
