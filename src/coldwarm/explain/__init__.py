"""Why subgraphs that look alike were compiled apart, and why a warm start compiled what was there already."""
