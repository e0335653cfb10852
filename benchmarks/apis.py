"""The services that are read: the bundled API on SQLite, and the fast one, each as a process on the same file."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

from toubib_api import prepare

HERE = Path(__file__).parent
TOUBIB_API = HERE.parent / ".venvs/toubib-api/bin/toubib-api"


@dataclass(frozen=True)
class Api:
    """A running service.

    Attributes:
        name: What kind it is.
        url: Its base URL.
        counts: Whether it counts the requests for pages, as the fast one does.
    """

    name: str
    url: str
    counts: bool

    def notice_changes(self) -> None:
        """Have the fast one take over what changed in the file; the bundled API does so with each request."""
        requests.get(f"{self.url}/changes", timeout=600).raise_for_status()

    def count_requests(self) -> int | None:
        """Return how many requests for pages came since this was last asked for; None if it does not count."""
        return int(requests.get(f"{self.url}/requests", timeout=60).text) if self.counts else None


@contextmanager
def serve(database: Path, *, latency: float | None = 0) -> Iterator[Api]:
    """Serve a file by the fast service, or by the bundled API.

    Args:
        database: The bundled API's SQLite file.
        latency: Seconds that every answer of the fast service takes; None for the bundled API.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    is_fast = latency is not None
    program: list[str | Path]
    program = [sys.executable, HERE / "fast_api.py", f"--latency={latency}"] if is_fast else [TOUBIB_API, "serve"]
    url = f"http://127.0.0.1:{port}"
    command = [*program, f"--database={database}", f"--port={port}"]
    # the bundled API logs what it does
    log = None if is_fast else subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log) as process:
        try:
            while not _answers(url):
                if process.poll() is not None:
                    raise RuntimeError(f"{program} did not start")
                time.sleep(0.1)
            slow = f"{1000 * latency:.0f} ms a page" if latency else "fast API"
            yield Api(slow if is_fast else "SQLite-backed", url, is_fast)
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=60).ok
    except requests.ConnectionError:
        return False


@dataclass
class Collection:
    """The patients of a service, in a file of the bundled API's."""

    path: Path
    patients: int
    _hours: int = 0

    @classmethod
    def made(cls, folder: Path, patients: int) -> Collection:
        """Return one that nobody has changed; what was made up once is copied."""
        pattern, copy = folder / f"{patients}.sqlite", folder / f"{patients}.copy.sqlite"
        if not pattern.exists():
            unfinished = pattern.with_suffix(".unfinished")
            unfinished.unlink(missing_ok=True)
            prepare(unfinished, patients=patients)
            unfinished.rename(pattern)
        for left in folder.glob(f"{copy.name}*"):
            left.unlink()
        with closing(sqlite3.connect(pattern)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        return cls(copy, patients)

    def change(self, updates: int) -> None:
        """Update patients, evenly spread over the collection and over an hour that follows the last one's."""
        self._hours += 1
        begin = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=self._hours)
        number = min(updates, self.patients)
        rows = [
            (f"{begin + place * timedelta(hours=1) / number:%Y-%m-%d %H:%M:%S.%f}", 1 + place * self.patients // number)
            for place in range(number)
        ]
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany(
                "update patients set updated_at = ?, total_visits = total_visits + 1 where id = ?", rows
            )

    def newest(self) -> str:
        """Return the last change, as `YYYY-MM-DD HH:MM:SS.ffffff`."""
        with closing(sqlite3.connect(self.path)) as connection:
            return str(connection.execute("select max(updated_at) from patients").fetchone()[0])
