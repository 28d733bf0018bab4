"""Plans and executes many runs, in parallel or one at a time, and stores them as they finish."""
