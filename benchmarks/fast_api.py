"""A Toubib API that costs next to nothing, so that the clients are measured: made-up patients, encoded in memory."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import requests
import uvicorn

from toubib_api import create_app
from toubib_api.people import people

LIST_PATH = "/v1/patients"
OPENAPI: dict[str, Any] = create_app(Path()).openapi()
HOUR = timedelta(hours=1)
Message = MutableMapping[str, Any]


def make_patients(number: int) -> Iterator[dict[str, Any]]:
    """Yield made-up patients; the first ones are the same for any number."""
    for patient_id, patient in enumerate(islice(people(Random(0), first_number=1), number), 1):  # noqa: S311 (no secret)
        yield {"id": patient_id} | patient


class FastApi:
    """The ASGI application."""

    def __init__(self, patients: int, latency: float) -> None:
        """Make up so many patients. An answer takes so many seconds."""
        self._latency = latency
        self._requests = 0
        self._rows: list[bytes] = []
        updates: list[float] = []
        for patient in make_patients(patients):
            self._rows.append(msgspec.json.encode(patient))
            updates.append(patient["updated_at"].timestamp())
        self._by_id = range(patients)
        self._by_update = sorted(self._by_id, key=updates.__getitem__)
        # later than the last update of every made-up patient
        self._now = datetime(2025, 1, 1, tzinfo=UTC)

    def _change(self, updates: int) -> None:
        """Update patients, evenly spread over the collection and over the hour that passes."""
        updates = min(updates, len(self._rows))
        changed = [number * len(self._rows) // updates for number in range(updates)]
        for number, place in enumerate(changed):
            patient = msgspec.json.decode(self._rows[place])
            patient |= {"updated_at": self._now + HOUR * number / updates, "total_visits": patient["total_visits"] + 1}
            self._rows[place] = msgspec.json.encode(patient)
        are_changed = set(changed)
        self._by_update = [place for place in self._by_update if place not in are_changed] + changed
        self._now += HOUR

    def _page(self, query: dict[str, str]) -> bytes:
        self._requests += 1
        order = self._by_update if query.get("sort_field") == "updated_at" else self._by_id
        begin, end, total = int(query["offset"]), int(query["offset"]) + int(query["limit"]), len(order)
        if query.get("sort_dir") == "desc":
            places = order[max(total - end, 0) : max(total - begin, 0)][::-1]
        else:
            places = order[begin:end]
        rows = b", ".join([self._rows[place] for place in places])
        return b'{"data": [%b], "meta": {"total_items": %d}}' % (rows, total)

    def _answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        match path:
            case "/v1/patients":
                return 200, self._page(query)
            case "/openapi.json":
                return 200, json.dumps(OPENAPI).encode()
            case "/health":
                return 200, b'"OK"'
            # the benchmark asks for these two
            case "/change":
                self._change(int(query["updates"]))
                return 200, b""
            case "/requests":
                requests, self._requests = self._requests, 0
                return 200, b"%d" % requests
        return 404, b""

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        await receive()
        status, body = self._answer(scope["path"], dict(parse_qsl(scope["query_string"].decode())))
        await asyncio.sleep(self._latency)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        url: The base URL.
        patients: How many patients it has.
    """

    url: str
    patients: int

    def change(self, updates: int) -> None:
        """Update patients."""
        requests.get(f"{self.url}/change", {"updates": updates}, timeout=600).raise_for_status()

    def count_requests(self) -> int:
        """Return the number of pages requested since the last call."""
        return int(requests.get(f"{self.url}/requests", timeout=60).text)

    def newest_update(self) -> str:
        """Return the newest `updated_at`, as `YYYY-MM-DD HH:MM:SS.ffffff`."""
        query = {"sort_field": "updated_at", "sort_dir": "desc", "offset": "0", "limit": "1"}
        [patient] = requests.get(f"{self.url}{LIST_PATH}", query, timeout=60).json()["data"]
        return f"{datetime.fromisoformat(patient['updated_at']):%Y-%m-%d %H:%M:%S.%f}"


@contextmanager
def serve(patients: int, *, latency: float = 0) -> Iterator[Service]:
    """Serve made-up patients from a process of its own.

    Raises:
        RuntimeError: The service did not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, __file__, str(patients), str(latency), str(port)]) as process:
        try:
            while not _answers(url):
                if process.poll() is not None:
                    raise RuntimeError("The fast API did not start")
                time.sleep(0.1)
            yield Service(url, patients)
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=60).ok
    except requests.ConnectionError:
        return False


def main(patients: str, latency: str, port: str) -> None:
    """Serve until killed."""
    uvicorn.run(FastApi(int(patients), float(latency)), port=int(port), log_level="error", lifespan="off")


if __name__ == "__main__":
    main(*sys.argv[1:])
