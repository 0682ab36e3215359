"""Retrieval: documents in, passages out, and answers that rest on them. One tenant never sees another."""
