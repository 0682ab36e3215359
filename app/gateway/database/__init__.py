"""What the ledger and the keys share of PostgreSQL: its address, a connection, and migrations."""
