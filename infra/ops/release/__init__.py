"""Releases: a colour brought up beside the live one, its share raised step by step behind a gate, and the way back."""
