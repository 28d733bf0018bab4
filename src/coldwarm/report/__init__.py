"""Shows results: live while they come in, as a table, as JSON, as JUnit XML."""
