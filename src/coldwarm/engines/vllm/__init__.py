"""vLLM: unchanged on a GPU; on a CPU, its own extension points make compilation piecewise."""
