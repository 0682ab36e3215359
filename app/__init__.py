"""What runs in the pods: the gateway, and the simulated engine that stands in for vLLM without a GPU."""
