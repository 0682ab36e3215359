"""The table's rows: one module per AWS service area, each with a `ROWS` tuple."""
