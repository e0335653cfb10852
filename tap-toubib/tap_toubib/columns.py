"""Columns of patients: their names, and the JSON schemas that tell a loader of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

JSONSchema = dict[str, Any]

PRIMARY_KEY = "id"
CREATED_AT = "created_at"
UPDATED_AT = "updated_at"

DELETED_AT = "_sdc_deleted_at"
"""The column that makes a record a tombstone, by convention of Singer's targets."""

EXTRACTED_AT = "_sdc_extracted_at"
"""The column of a file that says when a record was read: a BATCH message cannot."""

SYNC_STARTED_AT = "_sdc_sync_started_at"
"""The column that names the run: `started_at` of its record in `syncs`."""

INT64 = {"minimum": -(2**63), "maximum": 2**63 - 1}
"""Bounds that make the loader choose BIGINT for an integer."""

JSON_TEXT = {"type": ["string", "null"], "contentMediaType": "application/json"}
"""A column of objects, arrays or mixed types is kept as JSON text."""

RESERVED = {EXTRACTED_AT, "_sdc_batched_at", DELETED_AT, SYNC_STARTED_AT}
"""Names that mean something to every Singer target."""

NOT_LOADABLE = re.compile(r"""[,"'`\\{}\x00-\x1f\x7f\ud800-\udfff]""")
"""Characters that end a name, or stand for another character, in SQL, in a template of it or in a list of names."""


def name_columns(keys: Collection[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Return the name of the column for each key of the API: the key itself wherever a loader can take that.

    A character that cannot be in a name becomes `_`; of names that differ only in case, which are one in a database,
    all but one get a number.

    Args:
        keys: The keys.
        taken: Names that columns have already.
    """
    # a name in lower case keeps it, in whatever order the keys come
    ordered = sorted(keys, key=lambda key: (key != _make_loadable(key).lower(), key))
    used = RESERVED | {name.lower() for name in taken}
    names = {}
    for key in ordered:
        name, number = _make_loadable(key), 2
        while name.lower() in used:
            name, number = f"{_make_loadable(key)}_{number}", number + 1
        used.add(name.lower())
        names[key] = name
    return {key: names[key] for key in keys}


def describe(key: str, name: str, column: JSONSchema, description: str | None = None) -> JSONSchema:
    """Return the schema of a column with its description, and its key in the API as a title if that is not its name."""
    title = {} if key == name else {"title": key}
    return column | title | ({"description": description} if description else {})


def get_key(name: str, column: JSONSchema) -> str:
    """Return the key in the API of a column."""
    key: str = column.get("title", name)
    return key


def is_json_text(column: JSONSchema) -> bool:
    """Tell whether a column holds JSON text."""
    return "contentMediaType" in column


def _make_loadable(key: str) -> str:
    return NOT_LOADABLE.sub("_", key) or "_"
