"""Reusable Pulumi components; also a component package for other languages."""
