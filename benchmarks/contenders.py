"""The contenders: the connector, and two other ways to do its work, each set up as its documentation advises."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from measure import PROJECT, Cost, measure, start

IN_FLIGHT = 4
"""Requests that the connector has in flight at most; the others get as many if they can."""

PEERS = PROJECT / "benchmarks/peers"


@dataclass(frozen=True)
class Contender:
    """A way to replicate the patients with their history.

    Attributes:
        name: Its name in the results.
        command: The command line; `{url}` and `{folder}` are replaced.
        environment: Further variables; the same are replaced.
        current: A query for id, `updated_at` and names of the current rows.
        loaded: Part of the line that it prints when all rows are loaded and the history is not built yet.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    current: str
    loaded: str | None = None

    def load(self, url: str, folder: Path, *options: str) -> Cost:
        """Load from the service at `url` into the destination in `folder`, and wait for the end."""
        command, environment = self._fill(url, folder)
        return measure([*command, *options], environment, log=folder / "log", loaded=self.loaded)

    def start(self, url: str, folder: Path) -> subprocess.Popen[str]:
        """Start to load."""
        return start(*self._fill(url, folder))

    def _fill(self, url: str, folder: Path) -> tuple[list[str], dict[str, str]]:
        return (
            [each.format(url=url, folder=folder) for each in self.command],
            {name: each.format(url=url, folder=folder) for name, each in self.environment.items()},
        )

    def query(self, folder: Path, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query of `held`, which has the current rows; none if nothing was loaded.

        The `changed_at` of `held` is `updated_at` as `YYYY-MM-DD HH:MM:SS.ffffff`.
        """
        database = folder / "patients.duckdb"
        if not database.exists():
            return []
        with duckdb.connect(str(database), read_only=True) as connection:
            connection.execute("set timezone = 'UTC'")
            changed_at = "strftime(updated_at::timestamp, '%Y-%m-%d %H:%M:%S.%f')"
            held = f"select id, {changed_at} as changed_at, first_name, last_name from ({self.current})"  # noqa: S608 (a constant)
            try:
                return connection.sql(f"with held as ({held}) {sql}").fetchall()
            except duckdb.CatalogException:
                return []


CONNECTOR = Contender(
    "connector",
    ("bin/toubib-connector", "run"),
    {"RUNNER": "local", "API_BASEURL": "{url}", "DESTINATION_DUCKDB_PATH": "{folder}/patients.duckdb"},
    "select patient_id as id, updated_at, first_name, last_name from main.patients_history where is_current",
    loaded="Patients in ",
)
DLT = Contender(
    "dlt",
    (str(PROJECT / ".venvs/bench-dlt/bin/python"), str(PEERS / "dlt_pipeline.py"), "{url}", "{folder}"),
    {
        "EXTRACT__WORKERS": str(IN_FLIGHT),
        "EXTRACT__MAX_PARALLEL_ITEMS": str(IN_FLIGHT),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    },
    "select id, updated_at, first_name, last_name from toubib.patients where _dlt_valid_to is null",
)
PLAIN = Contender(
    "plain",
    (str(PEERS / "plain/load.sh"), "{url}", "{folder}"),
    {},
    "select id, updated_at, first_name, last_name from main_snapshots.patients_snapshot where dbt_valid_to is null",
)
CONTENDERS = (CONNECTOR, DLT, PLAIN)
