"""The models that coldwarm knows: published config facts, how to shrink them, what to expect of them."""
