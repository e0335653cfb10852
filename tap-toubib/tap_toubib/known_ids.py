"""The ids of the patients that were delivered and are not known to be gone, as a compressed bitmap."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from pyroaring import BitMap64
from singer_sdk.exceptions import ConfigurationError

from tap_toubib.discovery import PRIMARY_KEY
from tap_toubib.records import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_toubib.records import Record


LARGEST_ID = 2**63 - 1

LONGEST_TEXT = 1_000_000
"""Characters; as it is configured here, Meltano passes on lines of up to 1 MiB."""


def ids_of(rows: Iterable[Record | Rejected]) -> list[int]:
    """Return the ids of rows in their order; also of those that cannot be loaded, since the source counts them, too."""
    texts = [str(row.id if isinstance(row, Rejected) else row[PRIMARY_KEY]) for row in rows]
    return [int(text) for text in texts if text.isdecimal() and int(text) <= LARGEST_ID]


def to_text(ids: BitMap64) -> str:
    """Return a set of ids as text for the state: a few bytes for each gap, the empty text for the empty set."""
    ids.run_optimize()
    return b64encode(ids.serialize()).decode() if ids else ""


def from_text(text: str | None) -> BitMap64:
    """Return the set of ids that a text of the state stands for; none is the empty set.

    Raises:
        ConfigurationError: It stands for no set.
    """
    try:
        return BitMap64.deserialize(b64decode(text)) if text else BitMap64()
    except (IndexError, ValueError) as error:
        raise ConfigurationError(
            "`living` in the state of the patients is no set of ids. `make full-refresh` makes it anew"
        ) from error
