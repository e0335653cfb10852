"""The destination: a DuckDB file, and what a run keeps beside it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from toubib_connector.log import Failure, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


UNUSABLE = frozenset("#?'")
RESERVED = {"main", "raw", "staging", "system", "temp"}

PATIENCE = 30
"""Seconds that a run waits for another process to close the file."""

HOLDER = re.compile(r"Conflicting lock is held in (?P<holder>.*?\(PID \d+\))")


@dataclass(frozen=True)
class Destination:
    """A DuckDB file and its neighbours.

    Attributes:
        path: The absolute path of the DuckDB file.
    """

    path: Path

    @property
    def system_database(self) -> Path:
        """Meltano's system database, which holds the Singer state."""
        return self.path.with_name(f"{self.path.name}.meltano.db")

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
        """What of it one run needs: batches of patients, configurations with the token. Gone with the run."""
        return self.work_folder / "scratch"

    @property
    def log(self) -> Path:
        """The full log of the last command that ran Meltano."""
        return self.work_folder / "run.log"

    @property
    def outcome(self) -> Path:
        """How the last scheduled run ended."""
        return self.work_folder / "outcome.json"

    @property
    def report(self) -> Path:
        """What `report` draws."""
        return self.path.with_name(f"{self.path.stem}.report.html")

    def check_exists(self) -> None:
        """Make sure that something was loaded or made.

        Raises:
            Failure: Nothing was.
        """
        if not self.path.exists():
            raise Failure(f"There is no {self.path} yet. A run makes it.")

    @contextmanager
    def connect(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file.

        Raises:
            Failure: It is no DuckDB file, or another process holds it.
        """
        try:
            connection = duckdb.connect(
                str(self.path),
                read_only=read_only,
                # the loader's older DuckDB cannot always open a file in which metadata were used again
                config={"experimental_metadata_reuse": False},
            )
        except duckdb.Error as error:
            raise Failure(f"Cannot open {self.path}: {str(error).splitlines()[0]}") from error
        with connection:
            yield connection

    @contextmanager
    def connect_for_reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, or the published copy while a run writes to the file.

        Raises:
            Failure: There is none, it cannot be opened, or it has not the tables that a run or `init-db` leaves.
        """
        self.check_exists()
        path = self.path
        try:
            with self.connect(read_only=True):
                pass
        except Failure as error:
            if not HOLDER.search(error.message):
                raise
            path = self.published
            if not path.exists():
                raise Failure(
                    f"A run is writing to {self.path}. Try again when it has ended, or set TOUBIB_PUBLISH=true: then "
                    "each run leaves a copy that can be read meanwhile."
                ) from error
        try:
            with Destination(path).connect(read_only=True) as connection:
                yield connection
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            raise Failure(f"{path} has not the tables of a finished run yet. `init-db` makes them.") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folders and keep other runs from writing; the lock ends with the process, however it ends.

        Raises:
            Failure: The folder is not writable, the file is no DuckDB file, another run holds the lock, or another
                process does not close the file.
        """
        if UNUSABLE & set(str(self.path)):
            raise Failure(f"{self.path} will not do: the loader fails on a path with # ? or '.")
        if self.path.stem in RESERVED:
            raise Failure(
                f"{self.path.name} will not do: DuckDB calls the database {self.path.stem} after it, and that is the "
                "name of a schema. Set DESTINATION_DUCKDB_PATH to a file of another name."
            )
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
                raise Failure(f"Another run is writing to {self.path}; this one leaves.") from error
            # what outlives this process and still writes keeps the lock
            os.set_inheritable(file.fileno(), True)  # noqa: FBT003 (the standard library's way)
            self._wait_for_readers()
            # a killed run could not clean up
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch.mkdir()
            self.log.unlink(missing_ok=True)
            try:
                yield
            finally:
                shutil.rmtree(self.scratch, ignore_errors=True)

    def publish(self) -> None:
        """Put a copy for readers in the place of the last one: they see it whole, or still the other.

        Raises:
            Failure: There is no room for it, for instance.
        """
        copy = self.scratch / "published"
        try:
            # while it is open, nobody else writes to it
            with self.connect(read_only=False) as connection:
                connection.execute("checkpoint")
                shutil.copyfile(self.path, copy)
            # who may read it is decided once, by chmod; nobody may write, lest a log of writes outlive the file
            copy.chmod(0o400 | (self.published.stat().st_mode & 0o444 if self.published.exists() else 0))
            with copy.open("rb") as file:
                os.fsync(file)
            copy.replace(self.published)
        except OSError as error:
            raise Failure(
                f"Cannot publish {self.published}: {error.strerror}. What was loaded is in {self.path}."
            ) from error

    def _wait_for_readers(self) -> None:
        """Open the file once, to write, as soon as nobody else has it open.

        That takes over the write-ahead log of a killed process, too. The loader's older DuckDB must not go on with one
        that dbt's began: killed in its turn, it leaves a log that no newer DuckDB reads.
        """
        deadline = time.monotonic() + PATIENCE
        while self.path.exists():
            try:
                with self.connect(read_only=False):
                    return
            except Failure as error:
                holder = HOLDER.search(error.message)
                if not holder:
                    raise
                if time.monotonic() > deadline:
                    raise Failure(
                        f"{holder['holder']} has {self.path} open. Close it there and run again; nothing was read."
                    ) from error
                say(f"Waiting for {holder['holder']} to close {self.path}", "warning")
                time.sleep(5)
