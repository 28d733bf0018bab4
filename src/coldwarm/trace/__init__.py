"""Reads the structured log that PyTorch writes for TORCH_TRACE."""
