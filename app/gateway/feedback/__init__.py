"""Feedback: what clients say of answers, tied to their requests, and an evaluation set of what they consent to give."""
