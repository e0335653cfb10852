"""The tap: its settings and its streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from typing import Any, ClassVar

from singer_sdk import Stream, Tap
from singer_sdk import typing as th
from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.exceptions import ConfigurationError
from singer_sdk.helpers._catalog import get_selected_schema
from singer_sdk.helpers.capabilities import CapabilitiesEnum, PluginCapabilities, TapCapabilities

from tap_toubib.batch_files import BatchFolder
from tap_toubib.client import ToubibClient
from tap_toubib.discovery import Capabilities, complete, read_document
from tap_toubib.state import read_state
from tap_toubib.streams.patients import PatientsStream
from tap_toubib.streams.rejected_records import RejectedRecordsStream
from tap_toubib.streams.syncs import SyncsStream
from tap_toubib.values import to_utc


class TapToubib(Tap):
    """Singer tap for the patients of Toubib, an Electronic Medical Record API."""

    name = "tap-toubib"
    dynamic_catalog = True
    message_writer_class = MsgSpecWriter
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        TapCapabilities.CATALOG,
        TapCapabilities.STATE,
        TapCapabilities.DISCOVER,
        PluginCapabilities.ABOUT,
        PluginCapabilities.BATCH,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]

    config_jsonschema = th.PropertiesList(
        th.Property(
            "api_url",
            th.StringType(pattern="^https?://[^/]+"),
            required=True,
            description="Base URL of the Toubib service, for example http://toubib:8000.",
        ),
        th.Property(
            "auth_token", th.StringType, secret=True, description="Sent as a bearer token with every request, when set."
        ),
        th.Property(
            "start_date",
            th.DateTimeType,
            description="Leave out patients last updated before this instant. Without it, all are read.",
        ),
        th.Property(
            "page_size",
            th.IntegerType(minimum=2),
            description="Patients asked for in one request. The largest page that the API allows when not set.",
        ),
        th.Property(
            "lookback_seconds",
            th.IntegerType(minimum=0, maximum=366 * 86_400),
            default=60,
            description="How far before its bookmark a run reads again, in seconds, for changes that were committed "
            "late: longer than the service's longest transaction.",
        ),
        th.Property(
            "full_refresh",
            th.BooleanType,
            default=False,
            description="Read every patient again and look for deletions among all of them.",
        ),
        th.Property(
            "known_ids_file",
            th.StringType,
            description="Path of a text file with the ids of the patients that the destination holds as current, one "
            "integer a line. They replace the ids of the state.",
        ),
        th.Property(
            "max_deleted_percent",
            th.IntegerType(minimum=0, maximum=100),
            default=5,
            description="If more patients than this were deleted from the source since the last run, it ends with an "
            "error and marks none as deleted. A single deletion is always allowed.",
        ),
        th.Property(
            "max_parallel_requests",
            th.IntegerType(minimum=1),
            default=4,
            description="How many requests may be in flight at once. A run begins with one.",
        ),
        th.Property(
            "user_agent",
            th.StringType,
            default=f"tap-toubib/{version('tap-toubib')}",
            description="User-Agent header of every request.",
        ),
        th.Property(
            "request_timeout",
            th.IntegerType(minimum=1),
            default=60,
            description="Seconds without an answer after which a request is given up and tried again.",
        ),
    ).to_dict()

    def __init__(self, *, config: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Replace null settings with their defaults."""
        given = {name: value for name, value in (config or {}).items() if value is not None}
        super().__init__(config=given, **options)

    @cached_property
    def client(self) -> ToubibClient:
        """The connection to the API that all streams share."""
        return ToubibClient(
            self.config["api_url"],
            auth_token=self.config.get("auth_token"),
            user_agent=self.config["user_agent"],
            timeout=self.config["request_timeout"],
            max_parallel_requests=self.config["max_parallel_requests"],
        )

    @cached_property
    def api(self) -> Capabilities:
        """The capabilities of the API."""
        api = read_document(self.client.get_openapi())
        entry = self.input_catalog.get_stream(PatientsStream.name) if self.input_catalog else None
        return complete(api, self.client, entry.schema.to_dict().get("properties", {}) if entry else None)

    def load_state(self, state: dict[str, Any]) -> None:
        """Check the state. A run that fails passes it on unchanged."""
        read_state(state)
        if "bookmarks" in state:
            self.state["bookmarks"] = deepcopy(state["bookmarks"])

    def discover_streams(self) -> Sequence[Stream]:
        """Return the streams. The SDK sorts them by name: patients come first, and the others report on them."""
        try:
            to_utc(datetime.fromisoformat(self.config.get("start_date", "1970-01-01")))
        except ValueError as error:
            raise ConfigurationError("start_date is not an ISO 8601 date or date-time, such as 2024-01-31") from error
        batch_config = self.config.get("batch_config")
        folder = BatchFolder(**batch_config) if batch_config else None
        rejected = RejectedRecordsStream(self, folder)
        patients = PatientsStream(self, folder, self.client, self.api, rejected)
        return [patients, rejected, SyncsStream(self, patients)]

    def setup_mapper(self) -> None:
        """Map each stream by its own metadata: a catalog cannot deselect every column."""
        super(Tap, self).setup_mapper()
        for stream in self.streams.values():
            schema = get_selected_schema(stream.name, stream.effective_schema, stream.mask)
            self.mapper.register_raw_stream_schema(stream.name, schema, stream.primary_keys)
