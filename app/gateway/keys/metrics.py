"""Metrics of keys. No label names a key or a tenant."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

if TYPE_CHECKING:
    from app.gateway.keys.ring import KeyRing


class KeyMetrics:
    def __init__(self, registry: CollectorRegistry, ring: KeyRing) -> None:
        self.up = Gauge(
            "penstock_keys_database_up",
            "1 while keys follow the database; 0: those known are kept, and no change is seen.",
            registry=registry,
        )
        self.loads = Counter("penstock_keys_loads", "Reads of changed keys.", ["kind"], registry=registry)
        self.unreadable = Counter("penstock_keys_unreadable", "Rows that cannot be used.", registry=registry)
        known = Gauge("penstock_keys_stored", "Keys of the database that this gateway knows.", registry=registry)
        known.set_function(lambda: ring.stored)
        self.audit_rows = Gauge("penstock_audit_rows", "Number of the audit's last row.", registry=registry)
        self.audit_breaks = Counter(
            "penstock_audit_breaks", "Times that the audit was found written anew or cut.", registry=registry
        )
        self.checked_at = 0.0
        """Unix time at which the keys were last known to be those of the database."""
        age = Gauge(
            "penstock_keys_age_seconds",
            "Since the keys were last known to be those of the database; -1 before.",
            registry=registry,
        )
        age.set_function(lambda: time.time() - self.checked_at if self.checked_at else -1.0)
