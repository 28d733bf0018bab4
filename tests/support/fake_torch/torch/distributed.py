"""No ranks."""


def is_available() -> bool:
    """Return False."""
    return False
