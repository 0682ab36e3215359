"""Limits: requests, tokens, concurrent requests and money, per key, tenant, model and in all, right across replicas."""
