"""What stands behind the embedded AWS's objects: PostgreSQL, Redis, Envoy, and the real Kubernetes API server."""
