"""Many runs: planned, made side by side or one after another, and kept on disk as they finish."""
