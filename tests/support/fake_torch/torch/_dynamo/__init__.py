"""Has the counters."""
