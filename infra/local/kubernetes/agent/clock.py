"""Kubernetes' time stamps."""

from __future__ import annotations

import datetime as dt


def stamp(moment: dt.datetime | None = None) -> str:
    """`2026-01-31T12:00:00Z`, the form of metav1.Time."""
    return (moment or dt.datetime.now(dt.UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_stamp() -> str:
    """The form of metav1.MicroTime, which leases want."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
