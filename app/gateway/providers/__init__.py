"""Outside providers behind the gateway: what they are asked, what their answers mean, and how they fail."""
