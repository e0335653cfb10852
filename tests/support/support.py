"""Helpers of the end-to-end tests: the bundled API over HTTP, and the commands as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import httpx
import psutil

from toubib_api.app import create_app
from toubib_api.database import patients_table, prepare, transaction
from toubib_api.testing import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PROJECT = Path(__file__).parents[2]
CONNECTOR = PROJECT / ".venv/bin/toubib-connector"


@dataclass(frozen=True)
class Api:
    """A running bundled API.

    Attributes:
        url: Its base URL.
        database: Its SQLite file.
    """

    url: str
    database: Path

    def create(self, **columns: Any) -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/v1/patients", json=columns, timeout=60).raise_for_status()
        return dict(answer.json()["data"])

    def update(self, patient_id: int, **columns: Any) -> dict[str, Any]:
        answer = httpx.patch(f"{self.url}/v1/patients/{patient_id}", json=columns, timeout=60).raise_for_status()
        return dict(answer.json()["data"])

    def delete(self, patient_id: int) -> None:
        """Delete a patient in the database: the API has no request for it."""
        with transaction(self.database) as connection:
            connection.execute(patients_table.delete().where(patients_table.c.id == patient_id))

    def patients(self) -> dict[int, dict[str, Any]]:
        """Return every patient of the API by id."""
        found: dict[int, dict[str, Any]] = {}
        while True:
            params: dict[str, str | int] = {"sort_field": "email", "limit": 100, "offset": len(found)}
            page = httpx.get(f"{self.url}/v1/patients", params=params, timeout=60).raise_for_status().json()
            found |= {patient["id"]: patient for patient in page["data"]}
            if len(found) >= page["meta"]["total_items"]:
                return found


@contextmanager
def bundled_api(database: Path, patients: int = 0) -> Iterator[Api]:
    """Serve the bundled API on a database file."""
    prepare(database, patients)
    with serving(create_app(database)) as url:
        yield Api(url, database)


@dataclass(frozen=True)
class Destination:
    """A destination and the commands on it.

    Attributes:
        path: The DuckDB file.
    """

    path: Path

    def make(
        self, target: str, *variables: str, api_url: str = "", typed: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `make` as a user does; `stdout` holds both streams."""
        settings = ["RUNNER=local", f"API_BASEURL={api_url}", f"DESTINATION_DUCKDB_PATH={self.path}", *variables]
        return run("make", target, *settings, typed=typed)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the connector, as a schedule does."""
        return run(CONNECTOR, *arguments, DESTINATION_DUCKDB_PATH=str(self.path), **environment)

    def start(self, *arguments: str, output: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command of the connector in a session of its own.

        Args:
            arguments: Of the command line.
            output: The file for both streams; without it, output is dropped.
            environment: Variables in addition to this process's.
        """
        with (output or Path(os.devnull)).open("w") as file:
            return subprocess.Popen(
                [CONNECTOR, *arguments],
                env=os.environ | environment | {"DESTINATION_DUCKDB_PATH": str(self.path)},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def meltano(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Meltano by itself; whatever it writes goes beside the file."""
        self.path.parent.mkdir(exist_ok=True)
        variables = {
            "DESTINATION_DUCKDB_PATH": str(self.path),
            "MELTANO_DATABASE_URI": f"sqlite:///{self.path}.meltano.db",
            "TAP_TOUBIB_BATCH_CONFIG_STORAGE_ROOT": f"file://{self.path}.work/batches",
            "DBT_TARGET_PATH": f"{self.path}.work/dbt",
            "DBT_LOG_PATH": f"{self.path}.work",
            "XDG_STATE_HOME": str(self.path.parent),
        }
        return run(PROJECT / ".venv/bin/meltano", *arguments, **variables, **environment)

    def runs(self) -> list[dict[str, Any]]:
        """Return the recorded runs, oldest first."""
        lines = Path(f"{self.path}.runs.jsonl").read_text().split("\n")
        return [json.loads(line) for line in lines if line]

    def changes(self) -> dict[str, int]:
        """Return the numbers of the last run that are not 0."""
        run = self.runs()[-1]
        assert run["outcome"] == "succeeded"
        names = ("new", "changed", "deleted", "returned", "recovered", "rejected")
        return {name: run[name] for name in names if run[name]}

    def connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(str(self.path), read_only=True)
        connection.execute("set timezone = 'UTC'")
        return connection

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.sql(sql).fetchall()

    def rows(self, table: str) -> list[dict[str, Any]]:
        with self.connect() as connection:
            relation = connection.sql(f"select * from {table} order by all")
            return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]

    def patients(self) -> dict[int, dict[str, Any]]:
        """Return the current patients by id, with the columns of the source."""
        rows = {row.pop("patient_id"): row for row in self.rows("main.patients")}
        for row in rows.values():
            del row["observed_at"]
        return rows

    def columns(self, table: str) -> dict[str, str]:
        """Return the type of each column."""
        with self.connect() as connection:
            relation = connection.sql(f"from {table}")
            return dict(zip(relation.columns, map(str, relation.types), strict=True))

    def copy(self, path: Path) -> Destination:
        shutil.copy(self.path, path)
        return Destination(path)


def kill(process: subprocess.Popen[bytes], whose: str = "") -> None:
    """Kill a command and its child processes, or only the ones with a text in their command line."""
    with suppress(psutil.NoSuchProcess):
        command = psutil.Process(process.pid)
        for part in [command, *command.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                if whose in " ".join(part.cmdline()):
                    part.kill()


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> None:
    """Wait until a condition holds; fail after a time."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            if condition():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def as_loaded(patients: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return patients of the API as `Destination.patients` does."""
    return {
        patient["id"]: {name: value for name, value in patient.items() if name != "id"}
        | {"date_of_birth": date.fromisoformat(patient["date_of_birth"])}
        | {name: datetime.fromisoformat(patient[name]).astimezone(UTC) for name in ("created_at", "updated_at")}
        for patient in patients
    }


def run(*command: str | Path, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's folder without the variables of `make`, and type lines into it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        command,
        check=False,
        cwd=PROJECT,
        env=inherited | environment,
        input=typed,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
