"""`penstock init`: a fork's stack files, and what stands in an account before the first `pulumi up`."""
