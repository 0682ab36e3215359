"""Pipelines: declared steps (classify, retrieve, prompt, model, validate, branch, call out) under a model's name."""
