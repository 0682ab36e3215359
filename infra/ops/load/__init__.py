"""Load on a gateway: what is sent, when, what became of it, and a report that people look at."""
