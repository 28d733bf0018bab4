"""From a trace to numbers: phases, compiler work, compiled graphs."""
