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
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import duckdb

from toubib_connector.errors import Failure, fail_in_one_line
from toubib_connector.log import say

ADDRESS = re.compile(r":memory:|[A-Za-z][A-Za-z0-9+.-]+:(?!$)")
"""DuckDB's addresses of databases that are not files: `md:name`, `s3://...`."""

NOT_UTF8 = re.compile(r"[\ud800-\udfff]")
"""Python's surrogates for bytes that are not UTF-8."""

RESERVED = {"bookkeeping", "information_schema", "main", "pg_catalog", "raw", "staging", "system", "temp"}
"""Schemas of the file and of DuckDB. A database of the same name would be ambiguous."""

UNUSABLE = re.compile(r"""[\x00-\x1f'"#;]""")
"""Characters that break dbt's statements in a database name, which DuckDB derives from the file's name."""

LOCK_TIMEOUT = 30
"""Seconds that a run waits for another process to close the file."""

POLL_INTERVAL = 5
"""Seconds between two tries."""

HOLDER = re.compile(r"Conflicting lock is held in (?P<holder>.*?\(PID \d+\))")
"""How DuckDB names the process that has a file open."""

LEAST_ROOM = 1_000_000
"""Free bytes; with less, the full disk is the reason of a failure."""


class FileInUse(Failure):
    """Another process has the file open."""


@dataclass(frozen=True)
class Destination:
    """A DuckDB file and its neighbours.

        patients.duckdb
        patients.duckdb.meltano.db      the Singer state
        patients.duckdb.runs.jsonl
        patients.duckdb.work/
            lock, run.log, dbt/
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
    def report(self) -> Path:
        """The page that `report` makes."""
        return self.path.with_name(f"{self.path.stem}.report.html")

    @property
    def docs(self) -> Path:
        """The page that `docs` makes."""
        return self.path.with_name(f"{self.path.stem}.docs.html")

    @property
    def work_folder(self) -> Path:
        """Temporary files, which can be removed between runs."""
        return self.path.with_name(f"{self.path.name}.work")

    @property
    def log(self) -> Path:
        """The full log of the last command that ran Meltano."""
        return self.work_folder / "run.log"

    @property
    def scratch(self) -> Path:
        """Temporary files of the run in progress; removed when it ends."""
        return self.work_folder / "scratch"

    @property
    def alias(self) -> Path:
        """A link to the work folder, with a plain, constant path: if it changes, dbt parses everything again."""
        digest = sha256(str(self.path).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"toubib-{os.getuid()}-{digest}"

    @property
    def path_for_tools(self) -> Path:
        """A link to the file, below the alias. DuckDB names the database after the link's target."""
        return self.alias / "scratch" / self.path.name

    def check_exists(self) -> None:
        """Raise a Failure if the file is missing."""
        if not self.path.exists():
            raise Failure(f"{self.path} does not exist yet; `make run` creates it.")

    def open(self, path: Path | None = None, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        """Open the file, or one beside it, without waiting.

        Raises:
            FileInUse: Another process has it open.
            Failure: It is not a DuckDB file.
        """
        path = path or self.path
        try:
            return duckdb.connect(str(path), read_only=read_only)
        except duckdb.Error as error:
            if found := HOLDER.search(str(error)):
                raise FileInUse(f"{found['holder']} has {path} open. Close it there and run again.") from error
            raise Failure(f"Cannot open {path}: {str(error).splitlines()[0]}") from error

    @contextmanager
    def connect(self, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file as soon as other processes have closed it. Without `read_only`, create it if it is missing.

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
                say(f"Waiting: {error.message}", "warning")
                time.sleep(POLL_INTERVAL)
        with connection:
            connection.execute("set timezone = 'UTC'")
            yield connection

    @contextmanager
    def connect_for_reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, or the published copy while a run writes to the file.

        Raises:
            Failure: The file is missing, cannot be opened, or lacks the tables of a run.
        """
        self.check_exists()
        path = self.path
        try:
            connection = self.open(read_only=True)
        except FileInUse as error:
            path = self.published
            if not path.exists():
                raise Failure(
                    f"A run is writing to {self.path}. Try again when it has ended, or set TOUBIB_PUBLISH=true: "
                    "then each run leaves a copy that can be read during the next one."
                ) from error
            connection = self.open(path, read_only=True)
        with connection:
            try:
                connection.execute("set timezone = 'UTC'")
                yield connection
            except (duckdb.CatalogException, duckdb.BinderException) as error:
                raise Failure(f"{path} lacks the tables of a finished run; `make init-db` makes them.") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Create the folders, and lock out other runs until this process and its children have ended.

        Raises:
            FileInUse: Another run holds the lock.
            Failure: A file or folder is not writable, or the locked block fails.
        """
        self._check_modes()
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
                with fail_in_one_line():
                    yield
            except Failure as error:
                if shutil.disk_usage(self.work_folder).free < LEAST_ROOM:
                    raise Failure(f"{self.path.parent}: No space left on device", self.log) from error
                raise
            finally:
                self._remove_scratch()

    def _check_modes(self) -> None:
        """Check that everything a run writes to is writable, before SQLite creates files with the same wrong mode."""
        folder = next(each for each in self.path.parents if each.exists())
        for path in (folder, self.work_folder, self.path, self.system_database, self.runs):
            needed = os.R_OK | os.W_OK | (os.X_OK if path in {folder, self.work_folder} else 0)
            if path.exists() and not os.access(path, needed, effective_ids=True):
                mode = "u+rwx" if needed & os.X_OK else "u+rw"
                raise Failure(
                    f"{path} cannot be written to. `chmod {mode}` it, or set DESTINATION_DUCKDB_PATH to a file "
                    "in another folder."
                )

    def _make_scratch(self) -> None:
        self.scratch.mkdir(mode=0o700)
        self.log.unlink(missing_ok=True)
        # links spare the tools the user's paths; DuckDB and SQLite write their own logs beside the links' targets
        (self.scratch / self.path.name).symlink_to(self.path)
        (self.scratch / "meltano.db").symlink_to(self.system_database)
        self.alias.symlink_to(self.work_folder)

    def _remove_scratch(self) -> None:
        # a killed run could not clean up
        shutil.rmtree(self.scratch, ignore_errors=True)
        if self.alias.is_symlink():
            self.alias.unlink()


def locate(name: str) -> Destination:
    """Return the destination that a setting names. Symbolic links are resolved.

    Raises:
        Failure: The name cannot be a destination's.
    """
    advice = "Set DESTINATION_DUCKDB_PATH to the path of a DuckDB file."
    if ADDRESS.match(name):
        raise Failure(f"{name} is not a file. {advice}")
    if NOT_UTF8.search(name):
        raise Failure(f"{name!r} is not UTF-8, the only form in which DuckDB takes names. {advice}")
    try:
        path = Path(name).expanduser().resolve()
    except RuntimeError as error:
        raise Failure(f"{name} names the home of a user that does not exist. {advice}") from error
    if path.is_dir():
        raise Failure(f"{path} is a directory. {advice}")
    if "?" in str(path):
        raise Failure(f"{path} has a ?, which DuckDB takes in no path. {advice}")
    catalog = path.name.lstrip(".").split(".")[0]
    if catalog.casefold() in RESERVED or UNUSABLE.search(path.name):
        raise Failure(f"{str(path)!r} has a name that a database cannot have. Give the file another one.")
    return Destination(path)
