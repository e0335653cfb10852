"""The ids of the patients that were delivered and are not known to be deleted, as a compressed bitmap.

The state keeps them under `known_ids` as text: Base64 of a serialized 64-bit Roaring bitmap, in which an id stands as
`id + 2**63`, since a bitmap has no negative numbers; the empty text stands for the empty set. In two lines:

    bitmap = pyroaring.BitMap64([id + 2**63 for id in ids])
    text = base64.b64encode(bitmap.serialize()).decode() if bitmap else ""
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from pyroaring import BitMap64
from singer_sdk.exceptions import ConfigurationError

KEY = "known_ids"
"""The key in the state of the patients."""

LONGEST_TEXT = 4_000_000
"""Characters, at most: Meltano passes on lines of up to 5 MiB."""

SHIFT = 2**63


class KnownIds:
    """A set of integer ids from -2**63 to 2**63 - 1, with its place in the state of the patients.

    Attributes:
        is_kept: Whether the state is to hold it.
        text_length: How many characters it took when it was last saved.
    """

    def __init__(self, ids: Iterable[int] = (), *, is_kept: bool = False) -> None:
        self._bitmap = BitMap64([each + SHIFT for each in ids])
        self.is_kept = is_kept
        self.text_length = 0

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Self:
        """Return the set that a state holds, the empty one if it holds none."""
        known = cls(is_kept=KEY in state)
        try:
            if text := state.get(KEY):
                known._bitmap = BitMap64.deserialize(b64decode(text))
        except (IndexError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"`{KEY}` in the state of the patients is not a set of ids; a full refresh writes a new one"
            ) from error
        return known

    def save(self, state: dict[str, Any]) -> bool:
        """Put the set into a state, or take it out if it is not to be kept; return whether it fits there."""
        state.pop(KEY, None)
        if self.is_kept:
            self._bitmap.run_optimize()
            text = b64encode(self._bitmap.serialize()).decode() if self._bitmap else ""
            self.text_length = len(text)
            self.is_kept = self.text_length <= LONGEST_TEXT
            if not self.is_kept:
                return False
            state[KEY] = text
        return True

    def __len__(self) -> int:
        return len(self._bitmap)

    def __contains__(self, patient: int) -> bool:
        return patient + SHIFT in self._bitmap

    def __iter__(self) -> Iterator[int]:
        return (each - SHIFT for each in self._bitmap)

    def __sub__(self, other: KnownIds) -> KnownIds:
        return self._wrap(self._bitmap - other._bitmap)

    def copy(self) -> KnownIds:
        """Return a copy, which the state does not hold."""
        return self._wrap(self._bitmap.copy())

    def update(self, ids: Iterable[int]) -> None:
        """Add ids."""
        self._bitmap.update([each + SHIFT for each in ids])

    def discard(self, ids: Iterable[int]) -> None:
        """Take ids out."""
        self._bitmap -= BitMap64([each + SHIFT for each in ids])

    def select_between(self, low: int | None, high: int | None) -> KnownIds:
        """Return those after one id and before another; None stands for no bound."""
        return self._wrap(self._bitmap[self._count_up_to(low) : self._count_before(high)])

    def count_between(self, low: int | None, high: int | None) -> int:
        """Return how many are after one id and before another; None stands for no bound."""
        return self._count_before(high) - self._count_up_to(low)

    def _count_up_to(self, patient: int | None) -> int:
        return 0 if patient is None or patient < -SHIFT else self._bitmap.rank(patient + SHIFT)

    def _count_before(self, patient: int | None) -> int:
        return len(self) if patient is None else self._count_up_to(patient - 1)

    @staticmethod
    def _wrap(bitmap: BitMap64) -> KnownIds:
        result = KnownIds()
        result._bitmap = bitmap
        return result
