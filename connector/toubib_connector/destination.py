"""The destination: a DuckDB file, the files beside it, and who may open it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import duckdb

from toubib_connector.errors import Failure
from toubib_connector.log import say

LOCK_TIMEOUT = 30
"""Seconds that a run waits for another process to close the file."""

POLL_INTERVAL = 5
"""Seconds between two tries."""

HOLDER = re.compile(r"Conflicting lock is held in (.*?\(PID \d+\))")
"""How DuckDB names the process that has a file open."""

LEAST_ROOM = 1_000_000
"""Free bytes; with less, the full disk is the reason of a failure."""


class FileInUse(Failure):
    """Another process has the file open."""


class Destination:
    """A DuckDB file and its neighbours.

        patients.duckdb
        patients.duckdb.meltano.db      Meltano's system database with the Singer state
        patients.duckdb.runs.jsonl      a line of JSON for each run
        patients.duckdb.work/           can be removed between runs
            lock, run.log, dbt/
            scratch/                    of one run: batches of patients, configurations with the token
        patients.published.duckdb       the copy for readers
        patients.report.html, patients.docs.html

    Attributes:
        path: The absolute path of the DuckDB file.
        alias: A link to the work folder, with a plain, constant path: if it changes, dbt parses everything again.
        path_for_tools: A link to the file, below the alias. DuckDB names the database after the link's target.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.system_database = path.with_name(f"{path.name}.meltano.db")
        self.runs = path.with_name(f"{path.name}.runs.jsonl")
        self.published = path.with_name(f"{path.stem}.published{path.suffix}")
        self.report = path.with_name(f"{path.stem}.report.html")
        self.docs = path.with_name(f"{path.stem}.docs.html")
        self.work_folder = path.with_name(f"{path.name}.work")
        self.log = self.work_folder / "run.log"
        self.scratch = self.work_folder / "scratch"
        digest = sha256(str(path).encode()).hexdigest()[:16]
        self.alias = Path(tempfile.gettempdir()) / f"toubib-{os.getuid()}-{digest}"
        self.path_for_tools = self.alias / "scratch" / path.name

    def check_exists(self) -> None:
        """Raise a Failure if the file is missing."""
        if not self.path.exists():
            raise Failure(f"{self.path} does not exist yet; `make run` creates it.")

    def connect(self, *, read_only: bool = False, timeout: float = LOCK_TIMEOUT) -> duckdb.DuckDBPyConnection:
        """Open the file as soon as no other process has it open. Without `read_only`, a missing file is created.

        Raises:
            FileInUse: Another process does not close it.
            Failure: It is not a DuckDB file.
        """
        deadline = time.monotonic() + timeout
        is_waiting = False
        while True:
            try:
                return duckdb.connect(str(self.path), read_only=read_only)
            except duckdb.Error as error:
                holder = HOLDER.search(str(error))
                if not holder:
                    raise Failure(f"Cannot open {self.path}: {str(error).splitlines()[0]}") from error
                if time.monotonic() > deadline:
                    raise FileInUse(f"{holder[1]} has {self.path} open. Close it there and run again.") from error
            if not is_waiting:
                say(f"{holder[1]} has {self.path} open; waiting {timeout} seconds for it", "warning")
                is_waiting = True
            time.sleep(POLL_INTERVAL)

    @contextmanager
    def connect_for_reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, or the published copy while a run writes to the file.

        Raises:
            Failure: The file is missing, cannot be opened, or lacks the tables of a run.
        """
        self.check_exists()
        readable = self
        try:
            connection = self.connect(read_only=True, timeout=0)
        except FileInUse as error:
            readable = Destination(self.published)
            if not readable.path.exists():
                raise Failure(
                    f"A run is writing to {self.path}. Try again when it has ended, or set TOUBIB_PUBLISH=true: "
                    "then each run leaves a copy that can be read during the next one."
                ) from error
            connection = readable.connect(read_only=True)
        with connection:
            try:
                yield connection
            except (duckdb.CatalogException, duckdb.BinderException) as error:
                message = f"{readable.path} lacks the tables of a finished run; `make init-db` makes them."
                raise Failure(message) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Create the folders, and lock out other runs until this process and its children have ended.

        Raises:
            FileInUse: Another run holds the lock.
            Failure: A file or folder is not writable, or the disk is full.
        """
        folder = next(each for each in self.path.parents if each.exists())
        for path in (folder, self.path, self.system_database, self.runs):
            # SQLite would give the files that it makes beside a read-only one the same mode
            if path.exists() and not os.access(path, os.W_OK, effective_ids=True):
                raise Failure(f"{path} is not writable. Change its mode, or set DESTINATION_DUCKDB_PATH.")
        self.work_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.work_folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FileInUse(f"Another run is writing to {self.path}. Run again when it has ended.") from error
            # a child that outlives this process and still writes keeps the lock
            os.set_inheritable(file.fileno(), True)  # noqa: FBT003 (the standard library's way)
            self._remove_scratch()
            self._make_scratch()
            try:
                yield
            except Exception as error:
                if shutil.disk_usage(self.work_folder).free < LEAST_ROOM:
                    raise Failure(f"{self.path.parent}: No space left on device", self.log) from error
                raise
            finally:
                self._remove_scratch()

    def publish(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Replace the copy for readers atomically. Nothing else writes while this process has the file open."""
        copy = self.scratch / "published"
        connection.execute("checkpoint")
        shutil.copyfile(self.path, copy)
        # keep the mode that the user gave the last copy; read-only, so that no `.wal` is left behind
        copy.chmod(0o400 | (self.published.stat().st_mode & 0o444 if self.published.exists() else 0))
        with copy.open("rb") as file:
            os.fsync(file)
        copy.replace(self.published)

    def _make_scratch(self) -> None:
        self.scratch.mkdir(mode=0o700)
        # links spare the tools the user's paths; DuckDB and SQLite write their own logs beside the links' targets
        (self.scratch / self.path.name).symlink_to(self.path)
        (self.scratch / "meltano.db").symlink_to(self.system_database)
        self.alias.symlink_to(self.work_folder)

    def _remove_scratch(self) -> None:
        # a killed run could not clean up
        shutil.rmtree(self.scratch, ignore_errors=True)
        if self.alias.is_symlink():
            self.alias.unlink()
