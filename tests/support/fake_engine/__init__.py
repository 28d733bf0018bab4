"""An engine that starts in no time and does what the model's config says: ``{"behaves": "raises"}``."""
