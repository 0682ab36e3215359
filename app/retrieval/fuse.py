"""Joins ranked lists by reciprocal rank (Cormack, Clarke and Buettcher, SIGIR 2009), each with a weight. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

K = 60
"""The constant of the paper: how little the first places count above the others."""


def fuse(rankings: Iterable[tuple[float, Sequence[int]]], most: int) -> list[tuple[int, float]]:
    """From (weight, items, best first): (item, score) of the best, best first; equal scores by item."""
    scores: dict[int, float] = {}
    for weight, ranking in rankings:
        for place, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + weight / (K + place)
    return sorted(scores.items(), key=lambda one: (-one[1], one[0]))[:most]
