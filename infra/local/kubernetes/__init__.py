"""Kubernetes on one machine: a Pulumi provider over server-side apply, and the node agent that runs pods as processes."""
