"""Names and JSON schemas of the columns of patients."""

from __future__ import annotations

from typing import Any

JSONSchema = dict[str, Any]

PRIMARY_KEY = "id"
CREATED_AT = "created_at"
UPDATED_AT = "updated_at"

DELETED_AT = "_sdc_deleted_at"
"""The column that makes a record a tombstone, by convention of Singer's targets."""

EXTRACTED_AT = "_sdc_extracted_at"
"""When a record was read. Only files have this column: BATCH messages have no field for it."""

SYNC_STARTED_AT = "_sdc_sync_started_at"
"""The column that names the run: `started_at` of its record in `syncs`."""

INT64 = {"minimum": -(2**63), "maximum": 2**63 - 1}
"""Bounds that make the loader choose BIGINT for an integer."""

JSON_TEXT = {"type": ["string", "null"], "contentMediaType": "application/json"}
"""The schema of columns with objects, arrays or mixed types."""


def is_json_text(column: JSONSchema) -> bool:
    """Return whether a column holds JSON text."""
    return "contentMediaType" in column
