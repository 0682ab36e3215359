"""Kubernetes on one machine: a Pulumi provider over server-side apply, and the agent that runs pods as processes."""
