"""The `penstock` command: what a platform team does with a stack, from `up` to a release."""
