"""Drills: something is broken on purpose under load, what clients see is counted, and it is put right again."""
