"""The simulated vLLM engine: the same flags, routes, metrics and drain as `vllm serve` 0.32, without a GPU."""
