"""No GPU."""


def is_initialized() -> bool:
    """Return False."""
    return False
