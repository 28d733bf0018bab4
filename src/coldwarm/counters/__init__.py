"""The numbers that the engine and the compiler keep about their work, flat and named by source."""
