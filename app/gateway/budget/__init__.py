"""Budgets that act: what AWS and the ledger say of money changes what the gateways do, and back."""
