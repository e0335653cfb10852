"""The destination: a DuckDB file, and what a run keeps beside it."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from dataclasses import dataclass
from shutil import rmtree
from typing import TYPE_CHECKING

import click
import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


UNUSABLE = frozenset("#?'")
RESERVED = {"main", "raw", "staging", "system", "temp"}


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
    def work_folder(self) -> Path:
        """What a run writes on its way; nothing is lost with it."""
        return self.path.with_name(f"{self.path.name}.work")

    @contextmanager
    def connect(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file.

        Raises:
            click.ClickException: It is no DuckDB file, or another process holds it.
        """
        try:
            connection = duckdb.connect(str(self.path), read_only=read_only)
        except duckdb.Error as error:
            raise click.ClickException(f"Cannot open {self.path}: {str(error).splitlines()[0]}") from error
        with connection:
            yield connection

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folders and keep other runs from writing; the lock ends with the process, however it ends.

        Raises:
            click.ClickException: The folder is not writable, the file is no DuckDB file, or another run holds the lock.
        """
        if UNUSABLE & set(str(self.path)):
            raise click.ClickException(f"{self.path} will not do: the loader fails on a path with # ? or '.")
        if self.path.stem in RESERVED:
            raise click.ClickException(
                f"{self.path.name} will not do: DuckDB calls the database {self.path.stem} after it, and that is the "
                "name of a schema. Set DESTINATION_DUCKDB_PATH to a file of another name."
            )
        try:
            self.work_folder.mkdir(parents=True, exist_ok=True)
            file = (self.work_folder / "lock").open("w")
        except OSError as error:
            raise click.ClickException(
                f"Cannot write to {error.filename}: {error.strerror}. Make the folder writable, "
                "or set DESTINATION_DUCKDB_PATH to a file in another one."
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise click.ClickException(f"Another run is writing to {self.path}; this one leaves.") from error
            # they are of one run: the next begins its own
            rmtree(self.work_folder / "logs", ignore_errors=True)
            if self.path.exists():
                with self.connect(read_only=True):
                    pass
            yield
