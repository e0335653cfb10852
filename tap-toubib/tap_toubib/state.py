"""The state that a run starts with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from singer_sdk.exceptions import ConfigurationError

from tap_toubib.known_ids import KnownIds
from tap_toubib.values import to_utc


class Checkpoint(msgspec.Struct):
    """How far a first load came: its last row in the collection by id, and the bookmark that it catches up from."""

    offset: Annotated[int, msgspec.Meta(ge=0)]
    last_id: int
    high_water: datetime


class State(msgspec.Struct, frozen=True):
    """The state of the patients.

    Attributes:
        replication_key_value: The bookmark.
        synced_at: When the last successful run began.
        known_ids: The ids of all current patients; None if the last run could not keep them.
        emitted: Digests of the records that the last run emitted and the next one reads again, by id.
        checkpoint: How far an interrupted first load came.
    """

    replication_key_value: datetime | None = None
    synced_at: str | None = None
    known_ids: KnownIds | None = None
    emitted: dict[str, str] = {}
    checkpoint: Checkpoint | None = None

    @property
    def bookmark(self) -> str | None:
        """The bookmark as text in UTC."""
        return to_utc(self.replication_key_value) if self.replication_key_value else None


class Bookmarks(msgspec.Struct, frozen=True):
    """The states of the streams."""

    patients: State = State()


class SingerState(msgspec.Struct):
    """The whole state."""

    bookmarks: Bookmarks = Bookmarks()


def read_state(state: Mapping[str, Any]) -> State:
    """Return the state of the patients in a Singer state.

    Raises:
        ConfigurationError: A value is damaged; the message names its key.
    """
    try:
        checked = msgspec.convert(state, SingerState, dec_hook=lambda _, text: KnownIds.from_text(text))
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"The state is damaged: {error}. Remove the state and run a full refresh to write a new one"
        ) from error
    return checked.bookmarks.patients
