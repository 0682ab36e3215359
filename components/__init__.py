"""Reusable Pulumi components; also a component package for other languages.

Components register no inputs of their own: what changes shows once, on the resource that changes.
"""
