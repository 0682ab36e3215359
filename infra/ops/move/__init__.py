"""`penstock move`: a stack's second home in another region, its data carried over, and its name pointed there."""
