"""A tap as the template of the Singer SDK makes it: one stream, its replication key, pages by offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.pagination import OffsetPaginator

if TYPE_CHECKING:
    from collections.abc import Sequence

    import requests
    from singer_sdk.helpers.types import Context

PAGE_SIZE = 100
"""The service's largest."""


class Pages(OffsetPaginator):
    """Pages until one is empty."""

    def has_more(self, response: requests.Response) -> bool:
        """Return whether the page has rows."""
        return bool(response.json()["data"])


class PatientsStream(RESTStream[int]):
    """The patients, incremental by `updated_at`."""

    name = "patients"
    path = "/v1/patients"
    primary_keys: ClassVar[Sequence[str]] = ["id"]
    replication_key = "updated_at"
    records_jsonpath = "$.data[*]"
    schema = th.PropertiesList(
        th.Property("id", th.IntegerType(minimum=-(2**63), maximum=2**63 - 1)),
        th.Property("email", th.StringType),
        th.Property("first_name", th.StringType),
        th.Property("last_name", th.StringType),
        th.Property("date_of_birth", th.DateType),
        th.Property("created_at", th.DateTimeType),
        th.Property("updated_at", th.DateTimeType),
        th.Property("total_visits", th.IntegerType(minimum=-(2**63), maximum=2**63 - 1)),
    ).to_dict()

    @property
    def url_base(self) -> str:
        """The base URL of the service."""
        return str(self.config["api_url"])

    def get_new_paginator(self) -> Pages:
        """Return the paginator."""
        return Pages(start_value=0, page_size=PAGE_SIZE)

    def get_url_params(self, context: Context | None, next_page_token: int | None) -> dict[str, Any]:  # noqa: ARG002 (the SDK's)
        """Return the query of a page."""
        return {
            "sort_field": self.replication_key,
            "sort_dir": "asc",
            "offset": next_page_token or 0,
            "limit": PAGE_SIZE,
        }


class TapPatients(Tap):
    """A Singer tap for the patients."""

    name = "tap-patients"
    config_jsonschema = th.PropertiesList(th.Property("api_url", th.StringType, required=True)).to_dict()

    def discover_streams(self) -> Sequence[PatientsStream]:
        """Return the stream."""
        return [PatientsStream(self)]


if __name__ == "__main__":
    TapPatients.cli()
