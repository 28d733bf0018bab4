"""Shows results: live progress, tables, explanations, and files in several formats."""
