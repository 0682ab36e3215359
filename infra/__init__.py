"""The Pulumi program, its policies, the `penstock` command and the local target."""
