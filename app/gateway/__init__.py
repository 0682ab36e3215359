"""The data plane: authenticates, validates, picks an engine and relays its answer unbuffered."""
