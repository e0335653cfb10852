"""Patients by dlt: pages side by side, newest first until the last value, into an SCD2 table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
from dlt.sources.helpers.rest_client import RESTClient

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE_SIZE = 100
"""The service's largest."""


@dlt.resource(merge_key="id", write_disposition={"disposition": "merge", "strategy": "scd2"})
def patients(
    client: RESTClient,
    # by this default dlt knows that the resource is incremental
    updated_at: dlt.sources.incremental[str] = dlt.sources.incremental("updated_at", row_order="desc"),  # noqa: B008 (dlt's way)
) -> Iterator[Any]:
    """Yield the pages. dlt closes this generator when it meets a patient from before the last value, which it keeps."""

    def page(offset: int) -> Any:
        params = {"sort_field": updated_at.cursor_path, "sort_dir": "desc", "offset": offset, "limit": PAGE_SIZE}
        return client.get("/v1/patients", params=params).json()

    @dlt.defer
    def patients_at(offset: int) -> Any:
        return page(offset)["data"]

    first = page(0)
    yield first["data"]
    for offset in range(PAGE_SIZE, first["meta"]["total_items"], PAGE_SIZE):
        yield patients_at(offset)


def main(url: str, folder: Path) -> None:
    """Load the changes of the service at `url` into a DuckDB file in `folder`."""
    pipeline = dlt.pipeline(
        "patients",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.duckdb(str(folder / "patients.duckdb")),
        dataset_name="toubib",
    )
    # advised for DuckDB; its default, statements of SQL, took three times the CPU and four times the memory
    pipeline.run(patients(RESTClient(url)), loader_file_format="parquet")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
