"""Which API a destination was loaded from: made-up patients and those of another API do not come into one file."""

from __future__ import annotations

import duckdb

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure

LAST_RUN = "select is_bundled_api, api_url from raw.syncs order by started_at desc limit 1"

FIRST_LOAD = """
select is_bundled_api, api_url from bookkeeping.first_load where exists (from raw.patients)
"""

REMEMBER = """
create schema if not exists bookkeeping;
create or replace table bookkeeping.first_load (is_bundled_api boolean, api_url varchar);
comment on table bookkeeping.first_load is 'What a first load reads from: it counts while no run has ended';
comment on column bookkeeping.first_load.is_bundled_api is 'Whether its patients are made up';
comment on column bookkeeping.first_load.api_url is 'Its address, without credentials';
insert into bookkeeping.first_load values ($is_bundled_api, $api_url);
"""


def check_source(destination: Destination, api_url: str, *, is_bundled: bool) -> None:
    """Make sure that a run may load from an API; before a first run has ended, remember that it did.

    Raises:
        Failure: Made-up patients and those of another API would come into one file.
    """
    with destination.connect(read_only=False) as connection:
        last_run = _find_source(connection, LAST_RUN)
        was_bundled, loaded_from = last_run or _find_source(connection, FIRST_LOAD) or (None, "")
        if was_bundled in {None, is_bundled}:
            if last_run is None:
                connection.execute(REMEMBER, {"api_url": api_url, "is_bundled_api": is_bundled})
            return
    if is_bundled:
        raise Failure(
            f"{destination.shown()} was loaded from {loaded_from}; the made-up patients of the bundled API must not be "
            "mixed into it. Set API_BASEURL to the API, or DESTINATION_DUCKDB_PATH to another file."
        )
    raise Failure(
        f"{destination.shown()} holds the made-up patients of the bundled API; those of {api_url} must not be mixed "
        "into it. Set DESTINATION_DUCKDB_PATH to another file, or remove this one."
    )


def _find_source(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[bool | None, str] | None:
    try:
        return connection.execute(query).fetchone()
    except (duckdb.CatalogException, duckdb.BinderException):
        # a new file, or one of a release that did not tell
        return None
