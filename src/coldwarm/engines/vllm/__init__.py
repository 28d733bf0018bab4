"""vLLM: on a GPU as it comes, on a CPU with piecewise compilation kept on through its own extension points."""
