"""Which engine a request goes to: policies, sessions, prefixes, probes of silent engines, and hedging."""
