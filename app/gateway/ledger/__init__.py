"""The usage ledger: one row for each admitted request, first in a local spool, then in PostgreSQL."""
