"""A CPU."""


def get_cpu_capability() -> str:
    """Return that of no CPU."""
    return "NONE"
