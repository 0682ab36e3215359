"""Guards: what of a request or an answer is masked, flagged or refused."""
