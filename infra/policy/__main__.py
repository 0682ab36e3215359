"""Entry point of the policy pack."""

from infra.policy.pack import serve

serve()
