"""Steps of CI pipelines that run the suite: what they have in common, and how each system writes them down."""
