"""The CPU."""

from torch.backends import cpu as cpu
