"""The simulated vLLM engine: the same routes, metrics and drain, no GPU."""
