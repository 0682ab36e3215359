"""The ledger's metrics. They exist only where a ledger does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

if TYPE_CHECKING:
    from app.gateway.ledger.writer import Ledger

REASONS = ("full", "disk", "rejected")


class LedgerMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.up = Gauge("penstock_ledger_up", "1 while the ledger's database takes rows.", registry=registry)
        self.stored = Counter("penstock_ledger_rows_stored", "Rows stored in the database.", registry=registry)
        self.repeated = Counter(
            "penstock_ledger_rows_repeated", "Rows sent again that were stored already.", registry=registry
        )
        self.failures = Counter(
            "penstock_ledger_failures", "Times that the database did not take what was sent.", registry=registry
        )
        unspooled = Counter(
            "penstock_ledger_rows_unspooled",
            "Rows kept in memory alone, as the spool is full or its disk fails.",
            ["reason"],
            registry=registry,
        )
        lost = Counter(
            "penstock_ledger_rows_lost",
            "Rows that are in no ledger: no room was left, or the database rejected them.",
            ["reason"],
            registry=registry,
        )
        self.unspooled = {reason: unspooled.labels(reason) for reason in REASONS if reason != "rejected"}
        self.lost = {reason: lost.labels(reason) for reason in REASONS}
        self._spool_bytes = Gauge("penstock_ledger_spool_bytes", "Bytes that wait in the spool.", registry=registry)
        self._spool_limit = Gauge("penstock_ledger_spool_limit_bytes", "The spool's bound.", registry=registry)
        self._lag = Gauge("penstock_ledger_lag_seconds", "Age of the oldest rows that wait.", registry=registry)

    def watch(self, ledger: Ledger) -> None:
        """Reads the gauges when they are scraped."""
        spool = ledger.spool

        def lag() -> float:
            oldest = spool.oldest()
            return 0.0 if oldest is None else max(0.0, time.time() - oldest)

        self._spool_bytes.set_function(lambda: spool.size)
        self._spool_limit.set(spool.max_bytes)
        self._lag.set_function(lag)
