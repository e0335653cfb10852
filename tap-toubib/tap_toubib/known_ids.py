"""The ids of the patients that the destination holds as current, as a compressed bitmap.

The state keeps them as text: Base64 of a serialized 64-bit Roaring bitmap of `id + 2**63`, since a bitmap has no
negative numbers; the empty text is the empty set.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from pyroaring import BitMap64
from singer_sdk.exceptions import ConfigurationError

SHIFT = 2**63


class KnownIds:
    """A set of integer ids from -2**63 to 2**63 - 1."""

    def __init__(self, ids: Iterable[int] = (), *, bitmap: BitMap64 | None = None) -> None:
        self._bitmap = BitMap64([each + SHIFT for each in ids]) if bitmap is None else bitmap

    @classmethod
    def read_file(cls, path: str) -> Self:
        """Return the ids in a text file, one a line."""
        try:
            return cls(map(int, Path(path).read_text(encoding="ascii").split()))
        except OSError as error:
            raise ConfigurationError(f"known_ids_file: cannot read {path}: {error.strerror}") from error
        except (OverflowError, ValueError) as error:
            raise ConfigurationError(f"known_ids_file: {path} does not hold one integer id a line") from error

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the set in a text.

        Raises:
            ValueError: The text is damaged.
        """
        try:
            return cls(bitmap=BitMap64.deserialize(b64decode(text))) if text else cls()
        except (IndexError, TypeError, ValueError) as error:
            raise ValueError("Not a set of ids") from error

    def to_text(self) -> str:
        """Return the set as text."""
        self._bitmap.run_optimize()
        return b64encode(self._bitmap.serialize()).decode() if self._bitmap else ""

    def __len__(self) -> int:
        return len(self._bitmap)

    def __contains__(self, patient: int) -> bool:
        return patient + SHIFT in self._bitmap

    def __iter__(self) -> Iterator[int]:
        return (each - SHIFT for each in self._bitmap)

    def __sub__(self, other: KnownIds) -> KnownIds:
        return KnownIds(bitmap=self._bitmap - other._bitmap)

    def copy(self) -> KnownIds:
        """Return a copy."""
        return KnownIds(bitmap=self._bitmap.copy())

    def update(self, ids: Iterable[int]) -> None:
        """Add ids."""
        self._bitmap.update([each + SHIFT for each in ids])

    def discard(self, ids: Iterable[int]) -> None:
        """Remove ids."""
        self._bitmap -= BitMap64([each + SHIFT for each in ids])

    def select_between(self, low: int | None, high: int | None) -> KnownIds:
        """Return the ids between two others; None is unbounded."""
        return KnownIds(bitmap=self._bitmap[self._count_up_to(low) : self._count_before(high)])

    def count_between(self, low: int | None, high: int | None) -> int:
        """Count the ids between two others; None is unbounded."""
        return self._count_before(high) - self._count_up_to(low)

    def _count_up_to(self, patient: int | None) -> int:
        return 0 if patient is None or patient < -SHIFT else self._bitmap.rank(patient + SHIFT)

    def _count_before(self, patient: int | None) -> int:
        return len(self) if patient is None else self._count_up_to(patient - 1)
