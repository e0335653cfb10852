"""Instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def to_utc(instant: datetime) -> str:
    """Return an instant as text that sorts as time does: UTC with microseconds. A naive one is in UTC.

    Raises:
        ValueError: The instant is outside the years 1 to 9999 in UTC.
    """
    try:
        utc = instant.astimezone(UTC) if instant.tzinfo else instant
    except OverflowError as error:
        raise ValueError("Instant out of range") from error
    # without the offset: twice as fast as to remove the zone first
    return utc.isoformat(timespec="microseconds")[:26] + "Z"


def shift(instant: str, **offset: float) -> str:
    """Return an instant in that form, shifted by `timedelta(**offset)`, but not to before year 1."""
    try:
        return to_utc(datetime.fromisoformat(instant) + timedelta(**offset))
    except (OverflowError, ValueError):
        return to_utc(datetime.min)  # noqa: DTZ901


def now() -> str:
    """Return the present instant in that form."""
    return to_utc(datetime.now(UTC))
