"""Plain data: settings, records, checks, findings. Imports nothing else of coldwarm."""
