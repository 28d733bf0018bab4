"""What a run means: a pure function of its start records, what explains them, and the catalog entry, without torch."""
