"""Answers that are used again: exact, shared by identical requests under way, and by meaning."""
