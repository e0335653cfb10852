"""Digests of the records in the look-back, which the next run reads again and emits only if they changed.

Digests show whether a record changed. `updated_at` does not: two changes within one second can carry the same instant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

from tap_toubib.columns import CREATED_AT, PRIMARY_KEY, UPDATED_AT
from tap_toubib.records import Record, Rejected

MOST_DIGESTS = 1_000
"""Digests in a state, at most. With more of them, as after a bulk update, the next run emits its look-back again."""


class Emitted:
    """Digests of the last emitted content of each record in the look-back.

    Args:
        before: The digests that the last run left.
        since: The start of the next run's look-back; None if it has none.
        columns: The columns that are emitted.
    """

    def __init__(self, before: Mapping[str, str], since: str | None, columns: Sequence[str]) -> None:
        self._digests = {**before}
        self._since = since
        self._columns = columns
        self._recent: set[str] = set()
        self._is_full = False

    def is_repeated(self, row: Record | Rejected) -> bool:
        """Return whether a row was emitted with the same content already, and remember it for the next run."""
        if self._since is None or self._is_full:
            return False
        if isinstance(row, Rejected):
            is_recent, key = True, row.id or _digest(row.record)
            content: object = [row.reason, row.record]
        else:
            instant = row.get(UPDATED_AT) or row.get(CREATED_AT) or ""
            is_recent = instant >= self._since
            key = str(row[PRIMARY_KEY]) if is_recent or self._digests else ""
            if not is_recent and key not in self._digests:
                return False
            content = {name: row[name] for name in self._columns if name in row}
        digest = _digest(content)
        is_repeated = self._digests.get(key) == digest
        self._digests[key] = digest
        (self._recent.add if is_recent else self._recent.discard)(key)
        self._is_full = len(self._recent) > MOST_DIGESTS
        return is_repeated

    def to_state(self) -> dict[str, str]:
        """Return the digests for the next run."""
        return {} if self._is_full else {key: each for key, each in self._digests.items() if key in self._recent}


def _digest(content: object) -> str:
    return blake2b(msgspec.json.encode(content), digest_size=8).hexdigest()
