"""A Toubib API that costs next to nothing: the patients of a file of the bundled API, prepared in memory.

What the bundled API cannot do on demand it does, too: answer slowly, fail, and change while it is read.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import click
import uvicorn

from toubib_api import create_app
from toubib_api.database import patients_table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]

LIST_PATH = "/v1/patients"
VALUES = ", ".join(
    f"'{column.name}', "
    + (f"replace({column.name}, ' ', 'T') || 'Z'" if column.name in {"created_at", "updated_at"} else column.name)
    for column in patients_table.columns
)
CHANGED = f"""
select id, updated_at, json_object({VALUES}) from patients where updated_at > ? order by updated_at, id
"""  # noqa: S608 (names of columns)


@dataclass
class Unrest:
    """Changes that come while pages are read, tied to the pages: equal for whoever reads them.

    Attributes:
        every: After how many list requests the next changes come, as often as `times`.
        updates: Patients that each updates; their ids go to `updated`.
        removals: Patients that each removes; their ids go to `removed`.
        random: What chooses them.
    """

    every: int = 1
    times: int = 0
    updates: int = 0
    removals: int = 0
    random: Random = field(default_factory=Random)
    updated: set[int] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)


class FastApi:
    """The service, an ASGI application."""

    def __init__(self, database: Path, latency: float, faults: float) -> None:
        """Prepare the answers.

        Args:
            database: The bundled API's SQLite file; only read.
            latency: Seconds that every answer takes.
            faults: The share of list requests that is answered with 503.
        """
        self._database, self._latency, self._faults = database, latency, faults
        self._rows: dict[int, bytes] = {}
        self._by_update: list[int] = []
        self._newest = ""
        self._unrest = Unrest()
        self._random = Random(0)  # noqa: S311 (no secret)
        self._forget_requests()
        self._read_changes()
        self._openapi = create_app(database).openapi()

    def _read_changes(self) -> None:
        """Take over what changed in the file."""
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as connection:
            fresh: dict[int, bytes] = {}
            for patient_id, updated_at, row in connection.execute(CHANGED, [self._newest]):
                fresh[patient_id] = row.encode()
                self._newest = updated_at
        self._rows |= fresh
        self._by_update = [each for each in self._by_update if each not in fresh] + list(fresh)
        self._by_id = sorted(self._rows)

    def _forget_requests(self) -> None:
        self._requests, self._first_at, self._last_at = 0, 0.0, 0.0

    def _disturb(self) -> None:
        """Update and remove some patients."""
        unrest = self._unrest
        chosen = unrest.random.sample(self._by_id, unrest.updates + unrest.removals)
        removed, updated = set(chosen[: unrest.removals]), chosen[unrest.removals :]
        for patient_id in updated:
            patient = json.loads(self._rows[patient_id])
            patient["total_visits"] += 1
            patient["updated_at"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            self._rows[patient_id] = json.dumps(patient).encode()
        for patient_id in removed:
            del self._rows[patient_id]
        moved = {*updated, *removed}
        self._by_update = [each for each in self._by_update if each not in moved] + updated
        self._by_id = [each for each in self._by_id if each not in removed]
        unrest.updated = unrest.updated.union(updated) - removed
        unrest.removed |= removed

    def _page(self, query: dict[str, str]) -> bytes:
        self._requests += 1
        unrest = self._unrest
        if self._requests % unrest.every == 0 and unrest.times:
            unrest.times -= 1
            self._disturb()
        order = self._by_update if query.get("sort_field") == "updated_at" else self._by_id
        offset, end = int(query["offset"]), int(query["offset"]) + int(query["limit"])
        held = len(order)
        is_backwards = query.get("sort_dir") == "desc"
        shown = order[max(held - end, 0) : max(held - offset, 0)][::-1] if is_backwards else order[offset:end]
        rows = b", ".join(self._rows[each] for each in shown)
        return b'{"data": [%b], "meta": {"total_items": %d}}' % (rows, held)

    def _command(self, path: str, query: dict[str, str]) -> Any:
        """Do what the benchmark asks for."""
        if path == "/requests":
            seen = {"requests": self._requests, "first_at": self._first_at, "last_at": self._last_at}
            if query:
                self._forget_requests()
            return seen
        if path == "/changes":
            self._read_changes()
        elif path == "/unrest":
            every, times, updates, removals = (int(query[name]) for name in ("every", "times", "updates", "removals"))
            self._unrest = Unrest(every, times, updates, removals, Random(int(query["seed"])))  # noqa: S311 (no secret)
        elif path == "/disturb":
            self._unrest.updates, self._unrest.updated, self._unrest.removed = 0, set(), set()
            self._disturb()
        return {
            "updated": [*self._unrest.updated],
            "removed": [*self._unrest.removed],
            "current": {each: json.loads(row)["updated_at"] for each, row in self._rows.items()} if query else {},
        }

    def _answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        if path == LIST_PATH:
            self._first_at = self._first_at or time.time()
            if self._random.random() < self._faults:
                self._requests += 1
                return 503, b"{}"
            return 200, self._page(query)
        if path.startswith(LIST_PATH):
            row = self._rows.get(int(path.rpartition("/")[2]))
            return (200, b'{"data": %b}' % row) if row else (404, b'{"detail": "No patient has this id"}')
        fixed = {"/openapi.json": self._openapi, "/health": "OK"}
        return 200, json.dumps(fixed.get(path) or self._command(path, query)).encode()

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
        if scope["path"] == LIST_PATH:
            self._last_at = time.time()


@click.command()
@click.option("--database", type=click.Path(path_type=Path), required=True)
@click.option("--latency", type=float, required=True)
@click.option("--faults", type=float, required=True)
@click.option("--port", type=int, required=True)
def main(database: Path, latency: float, faults: float, port: int) -> None:
    """Serve until killed."""
    uvicorn.run(FastApi(database, latency, faults), port=port, log_level="error", lifespan="off")


if __name__ == "__main__":
    main()
