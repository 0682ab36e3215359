"""Taking a stack away in an order that leaves nothing behind, and saying what is left all the same."""
