"""Made-up patients."""

import unicodedata
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from random import Random
from typing import Any, NamedTuple

from faker import Faker

_LOCALES = ("fr_CA", "en_CA", "de_DE", "pl_PL", "el_GR", "ja_JP")
_NAMES_PER_LOCALE = 400

# fixed: equal seeds give equal patients on any day
_OPENING = datetime(2020, 1, 6, 8, tzinfo=UTC)
_CLOSING = datetime(2024, 12, 20, 18, tzinfo=UTC)
_OLDEST = date(1925, 1, 1)
_YOUNGEST = date(2019, 12, 31)
_NEVER_UPDATED = 0.3


class Names(NamedTuple):
    """The names of one language."""

    first: list[str]
    last: list[str]


@cache
def _languages() -> tuple[Names, ...]:
    """Draw all names once: Faker is too slow to be called for every patient."""
    languages = []
    for locale in _LOCALES:
        fake = Faker(locale)
        fake.seed_instance(0)
        languages.append(
            Names(
                first=[fake.first_name() for _ in range(_NAMES_PER_LOCALE)],
                last=[fake.last_name() for _ in range(_NAMES_PER_LOCALE)],
            )
        )
    return tuple(languages)


@cache
def _ascii(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return "".join(filter(str.isalnum, letters)) or "patient"


def _between(random: Random, start: datetime, end: datetime) -> datetime:
    return start + (end - start) * random.random()


def last_name(random: Random) -> str:
    """Draw a last name."""
    return random.choice(random.choice(_languages()).last)


def people(random: Random, first_number: int) -> Iterator[dict[str, Any]]:
    """Make up patients without end.

    Args:
        random: The source of randomness.
        first_number: The number in the first patient's email. Each next one is larger by one, so emails are unique.

    Yields:
        The values of a patient's columns, without the id.
    """
    languages = _languages()
    days = (_YOUNGEST - _OLDEST).days
    number = first_number
    while True:
        names = random.choice(languages)
        first, last = random.choice(names.first), random.choice(names.last)
        created_at = _between(random, _OPENING, _CLOSING)
        updated = random.random() > _NEVER_UPDATED
        yield {
            "email": f"{_ascii(first)}.{_ascii(last)}{number}@example.org",
            "first_name": first,
            "last_name": last,
            "date_of_birth": _OLDEST + timedelta(days=int(random.random() * days)),
            "created_at": created_at,
            "updated_at": _between(random, created_at, _CLOSING) if updated else created_at,
            "total_visits": int(random.expovariate(1 / 6)),
        }
        number += 1
