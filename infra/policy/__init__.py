"""The policy pack: rules that every preview and update is held to (`held.py`: a program without them refuses)."""
