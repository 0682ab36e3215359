"""Evaluation suites: what a model must show, asked of an endpoint, with figures that say how sure they are."""
