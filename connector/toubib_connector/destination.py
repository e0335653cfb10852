"""The destination: a DuckDB file, and what a run keeps beside it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import duckdb

from toubib_connector.errors import Failure
from toubib_connector.log import say

PLAIN_PATH = re.compile(r"[\w ./-]+")
"""In others Meltano, SQLAlchemy or dbt can see a variable, an escape or a parameter."""

LOCK_TIMEOUT = 30
"""Seconds that a run waits for another process to close the file."""

POLL_INTERVAL = 5
"""Seconds between two tries."""

HOLDER = re.compile(r"Conflicting lock is held in (?P<holder>.*?\(PID \d+\))")


class FileInUse(Failure):
    """Another process has the file.

    Attributes:
        holder: Which one.
    """

    def __init__(self, message: str, holder: str = "another run") -> None:
        super().__init__(message)
        self.holder = holder


@dataclass(frozen=True)
class Destination:
    """A DuckDB file and its neighbours.

        patients.duckdb
        patients.duckdb.meltano.db
        patients.duckdb.runs.jsonl
        patients.duckdb.work/           work_folder; tools know it as tools_folder
            lock, run.log, outcome.json, dbt/
            scratch/                    of one run: batches of patients, configurations with the token

    Attributes:
        path: The absolute path of the DuckDB file.
    """

    path: Path

    @property
    def system_database(self) -> Path:
        """Meltano's system database, which holds the Singer state."""
        return self.path.with_name(f"{self.path.name}.meltano.db")

    @property
    def runs(self) -> Path:
        """A line of JSON for each run."""
        return self.path.with_name(f"{self.path.name}.runs.jsonl")

    @property
    def published(self) -> Path:
        """The copy for readers."""
        return self.path.with_name(f"{self.path.stem}.published{self.path.suffix}")

    @property
    def work_folder(self) -> Path:
        """What runs write on their way; nothing is lost with it."""
        return self.path.with_name(f"{self.path.name}.work")

    @property
    def scratch(self) -> Path:
        """What one run needs, and removes."""
        return self.work_folder / "scratch"

    @property
    def log(self) -> Path:
        """The full log of the last command that ran Meltano."""
        return self.work_folder / "run.log"

    @property
    def tools_folder(self) -> Path:
        """The work folder under a name that every tool takes, the same in each run."""
        if PLAIN_PATH.fullmatch(str(self.work_folder)):
            return self.work_folder
        digest = sha256(str(self.path).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"toubib-{os.getuid()}-{digest}"

    @property
    def outcome(self) -> Path:
        """How the last scheduled run ended."""
        return self.work_folder / "outcome.json"

    @property
    def report(self) -> Path:
        """What `report` draws."""
        return self.path.with_name(f"{self.path.stem}.report.html")

    def shown(self, path: Path | None = None) -> Path:
        """Return where people find the file, or one beside it: on the host, if this is a container."""
        path = path or self.path
        host_folder = os.environ.get("TOUBIB_HOST_FOLDER")
        return Path(host_folder) / path.relative_to(self.path.parent) if host_folder else path

    def check_exists(self) -> None:
        """Make sure that something was loaded or made.

        Raises:
            Failure: Nothing was.
        """
        if not self.path.exists():
            raise Failure(f"{self.shown()} does not exist yet; `make run` creates it.")

    @contextmanager
    def connect(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file as soon as no other process keeps it from that; make it to write, if it does not exist.

        Raises:
            FileInUse: Another process does not close the file.
            Failure: It is not a DuckDB file.
        """
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                connection = self.open(read_only=read_only)
                break
            except FileInUse as error:
                if time.monotonic() > deadline:
                    raise
                say(f"Waiting for {error.holder} to close {self.shown()}", "warning")
                time.sleep(POLL_INTERVAL)
        with connection:
            yield connection

    def open(self, path: Path | None = None, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        """Open the file, or one beside it, without waiting for anybody.

        Raises:
            FileInUse: Another process has it open.
            Failure: It is not a DuckDB file.
        """
        path = path or self.path
        try:
            return duckdb.connect(str(path), read_only=read_only)
        except duckdb.Error as error:
            if found := HOLDER.search(str(error)):
                holder = found["holder"]
                message = f"{holder} has {self.shown(path)} open. Close it there and run again."
                raise FileInUse(message, holder) from error
            raise Failure(f"Cannot open {self.shown(path)}: {str(error).splitlines()[0]}") from error

    @contextmanager
    def connect_for_reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, or the published copy while a run writes to the file.

        Raises:
            Failure: There is none, it cannot be opened, or it lacks the tables that a run or `init-db` leaves.
        """
        self.check_exists()
        path = self.path
        try:
            connection = self.open(read_only=True)
        except FileInUse as error:
            path = self.published
            if not path.exists():
                raise Failure(
                    f"A run is writing to {self.shown()}. Try again when it has ended, or set TOUBIB_PUBLISH=true: "
                    "then each run leaves a copy that can be read during the next one."
                ) from error
            connection = self.open(path, read_only=True)
        with connection:
            try:
                yield connection
            except (duckdb.CatalogException, duckdb.BinderException) as error:
                raise Failure(
                    f"{self.shown(path)} lacks the tables of a finished run; `make init-db` makes them."
                ) from error

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other runs from writing, until this process and all that it started end, however they end.

        Raises:
            FileInUse: Another run holds the file.
            Failure: The folder is not writable.
        """
        try:
            self.work_folder.mkdir(parents=True, exist_ok=True)
            file = (self.work_folder / "lock").open("w")
        except OSError as error:
            raise Failure(
                f"Cannot write to {error.filename}: {error.strerror}. Make the folder writable, "
                "or set DESTINATION_DUCKDB_PATH to a file in another one."
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FileInUse(f"Another run is writing to {self.shown()}. Run again when it has ended.") from error
            # what outlives this process and still writes keeps the lock
            os.set_inheritable(file.fileno(), True)  # noqa: FBT003 (the standard library's way)
            yield

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the file and its folders and keep other runs from writing.

        Raises:
            FileInUse: Another run holds the lock, or another process does not close the file.
            Failure: The folder is not writable, or the file is not a DuckDB file.
        """
        with self.hold():
            with self.connect(read_only=False):
                pass
            # a killed run could not clean up
            self._remove_scratch()
            self.scratch.mkdir()
            self.log.unlink(missing_ok=True)
            # so no tool has to take what the folder is called; DuckDB and SQLite write their logs beside what a link
            # points to
            (self.scratch / self.path.name).symlink_to(self.path)
            (self.scratch / "meltano.db").symlink_to(self.system_database)
            if self.tools_folder != self.work_folder:
                self.tools_folder.symlink_to(self.work_folder)
            try:
                yield
            finally:
                self._remove_scratch()

    def _remove_scratch(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        if self.tools_folder.is_symlink():
            self.tools_folder.unlink()
