"""Conversions of the values of patients."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

EARLIEST = "0001-01-01T00:00:00.000000Z"
"""The first instant that Python knows, as `to_utc` writes it."""


def to_utc(instant: datetime) -> str:
    """Return an instant as text that sorts as time does: UTC with microseconds. A naive one is in UTC.

    Raises:
        ValueError: The instant is outside the years 1 to 9999 in UTC.
    """
    try:
        utc = instant.astimezone(UTC) if instant.tzinfo else instant
    except OverflowError as error:
        raise ValueError("Instant out of range") from error
    return utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def shift(instant: str, **offset: float) -> str:
    """Return an instant in that form, shifted by `timedelta(**offset)` and clamped to year 1."""
    origin = datetime.fromisoformat(instant)
    try:
        return to_utc(origin + timedelta(**offset))
    except (OverflowError, ValueError):
        return EARLIEST


def now() -> str:
    """Return the present instant in that form."""
    return to_utc(datetime.now(UTC))


def to_json_text(value: object) -> str:
    """Return a value of any type as JSON text with sorted keys."""
    return msgspec.json.encode(value, order="deterministic").decode()


def to_id(value: int | str) -> str:
    """Return a text id."""
    return str(value).encode(errors="backslashreplace").decode()
