"""Singer target for DuckDB that only appends: the registry's target-duckdb with another way of loading rows."""
