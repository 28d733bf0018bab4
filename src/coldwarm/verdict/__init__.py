"""What a run's two start records mean: a pure function of them and the catalog entry, without torch."""
