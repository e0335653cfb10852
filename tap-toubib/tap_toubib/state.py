"""The state of the patients that a run is given, checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from singer_sdk.exceptions import ConfigurationError

from tap_toubib.known_ids import KnownIds
from tap_toubib.values import to_utc


class Checkpoint(msgspec.Struct):
    """How far a first load came.

    Attributes:
        offset: The offset of its last row in the collection by id.
        last_id: The id of that row.
        high_water: The bookmark from which the load catches up.
    """

    offset: Annotated[int, msgspec.Meta(ge=0)]
    last_id: int | str
    high_water: datetime


class State(msgspec.Struct):
    """The state of the patients.

    Attributes:
        replication_key_value: The bookmark.
        synced_at: When the last run that ended well began.
        known_ids: The ids of all current patients; None if the last run could not keep them.
        emitted: Digests of the records that the last run emitted and the next one will read again, by id.
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


class Bookmarks(msgspec.Struct):
    """The states of the streams, of which only the patients have one."""

    patients: State = msgspec.field(default_factory=State)


class SingerState(msgspec.Struct):
    """The whole state, as Singer has it."""

    bookmarks: Bookmarks = msgspec.field(default_factory=Bookmarks)


def read_state(state: Mapping[str, Any]) -> State:
    """Return the state of the patients in a Singer state.

    Raises:
        ConfigurationError: A value is damaged; the message names its key.
    """
    try:
        return msgspec.convert(state, SingerState, dec_hook=_decode_ids).bookmarks.patients
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"The state is damaged: {error}. Remove the state and run a full refresh to write a new one"
        ) from error


def _decode_ids(_: type, text: Any) -> KnownIds:
    if not isinstance(text, str):
        raise ValueError(f"Expected `str`, got `{type(text).__name__}`")  # noqa: TRY004  # the decoder adds the key
    return KnownIds.from_text(text)
