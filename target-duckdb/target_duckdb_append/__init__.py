"""Singer target for DuckDB that only appends."""
