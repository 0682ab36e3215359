"""The Pulumi resource provider `kubernetes` of the local platform: server-side apply against the real API server."""
