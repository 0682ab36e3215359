"""Copies of some requests to the other colour's engines, whose answers are compared and thrown away."""
