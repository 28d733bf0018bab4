"""Many runs: planned, made one after another, and kept on disk as they finish."""
