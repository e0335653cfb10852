"""Queries, one file each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb


def query(connection: duckdb.DuckDBPyConnection, name: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return the rows of the query `name`.sql as dictionaries. Instants are in UTC."""
    connection.execute("set timezone = 'UTC'")
    connection.execute(Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8"), parameters)
    names = [column[0] for column in connection.description or ()]
    return [dict(zip(names, row, strict=True)) for row in connection.fetchall()]
