"""Which model answers a request, and what happens when it cannot: rules, tests by share, levels, chains, breakers."""
