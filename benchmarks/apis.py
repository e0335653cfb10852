"""The services that are read: the bundled API on SQLite, and the fast one, each as a process on the same file."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from toubib_api import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
TOUBIB_API = HERE.parent / ".venvs/toubib-api/bin/toubib-api"


@dataclass(frozen=True)
class Seen:
    """What a service saw of a client: requests for pages, and when the first came and the last was answered."""

    requests: int
    first_at: float
    last_at: float


@dataclass(frozen=True)
class Api:
    """A running service.

    Attributes:
        name: What kind it is.
        url: Its base URL.
        latency: Seconds that every answer takes.
        answers: When pages were answered, where only the access log tells; None for the fast one, which can be asked.
    """

    name: str
    url: str
    latency: float = 0
    answers: list[float] | None = None

    def ask(self, command: str, **query: int) -> Any:
        """Have the fast one do something and return its answer."""
        return requests.get(f"{self.url}/{command}", params=query, timeout=600).json()

    def notice_changes(self) -> None:
        """Take over what changed in the file; the bundled API does so with each request."""
        if self.answers is None:
            self.ask("changes")

    def seen(self) -> Seen:
        """Return what it saw since this was last asked for."""
        if self.answers is None:
            return Seen(**self.ask("requests", forget=1))
        answers, self.answers[:] = [*self.answers], []
        return Seen(len(answers), *((answers[0], answers[-1]) if answers else (0, 0)))


@contextmanager
def sqlite_api(database: Path) -> Iterator[Api]:
    """Serve a file by the bundled API."""
    command: list[str | Path] = [TOUBIB_API, "serve", "--port=0", f"--database={database}", "--access-log"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    answers: list[float] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        log = iter(process.stdout or ())
        url = next(log).split(" on ")[1].split()[0]
        noted = (time.time() for line in log if '"GET /v1/patients?' in line)
        reader = threading.Thread(target=answers.extend, args=[noted])
        reader.start()
        try:
            yield Api("SQLite-backed", url, answers=answers)
        finally:
            process.terminate()
            reader.join()


@contextmanager
def fast_api(database: Path, *, latency: float = 0, faults: float = 0) -> Iterator[Api]:
    """Serve a file by the fast service.

    Args:
        database: The bundled API's SQLite file.
        latency: Seconds that every answer takes.
        faults: The share of list requests that is answered with 503.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--database={database}", f"--latency={latency}", f"--faults={faults}", f"--port={port}"]
    with subprocess.Popen([sys.executable, HERE / "fast_api.py", *options]) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            while not _answers(url):
                if process.poll() is not None:
                    raise RuntimeError("The fast API did not start")
                time.sleep(0.1)
            yield Api("fast", url, latency)
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
