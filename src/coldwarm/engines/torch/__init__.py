"""Programs that use torch.compile without an engine."""
