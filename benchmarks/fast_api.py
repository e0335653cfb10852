"""A Toubib API that costs next to nothing: the patients of a file of the bundled API, prepared in memory."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import click
import uvicorn

from toubib_api import create_app
from toubib_api.database import patients_table

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


def read_rows(database: Path, after: str = "") -> list[tuple[int, str, str]]:
    """Return the patients of a file that were updated after an instant: id, instant, and JSON as the API answers."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(CHANGED, [after]).fetchall()


class FastApi:
    """The service, an ASGI application."""

    def __init__(self, database: Path, latency: float) -> None:
        """Prepare the answers.

        Args:
            database: The bundled API's SQLite file; only read.
            latency: Seconds that every answer takes.
        """
        self._database, self._latency = database, latency
        self._rows: dict[int, bytes] = {}
        self._by_update: list[int] = []
        self._newest = ""
        self._requests = 0
        self._read_changes()
        self._openapi = create_app(database).openapi()

    def _read_changes(self) -> None:
        """Take over what changed in the file."""
        changed = read_rows(self._database, self._newest)
        fresh = {patient_id: row.encode() for patient_id, _, row in changed}
        self._newest = max([self._newest, *(updated_at for _, updated_at, _ in changed)])
        self._rows |= fresh
        self._by_update = [each for each in self._by_update if each not in fresh] + list(fresh)
        self._by_id = sorted(self._rows)

    def _page(self, query: dict[str, str]) -> bytes:
        self._requests += 1
        order = self._by_update if query.get("sort_field") == "updated_at" else self._by_id
        offset, end = int(query["offset"]), int(query["offset"]) + int(query["limit"])
        held = len(order)
        is_backwards = query.get("sort_dir") == "desc"
        shown = order[max(held - end, 0) : max(held - offset, 0)][::-1] if is_backwards else order[offset:end]
        rows = b", ".join(self._rows[each] for each in shown)
        return b'{"data": [%b], "meta": {"total_items": %d}}' % (rows, held)

    def _answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        if path == LIST_PATH:
            return 200, self._page(query)
        if path.startswith(LIST_PATH):
            row = self._rows.get(int(path.rpartition("/")[2]))
            return (200, b'{"data": %b}' % row) if row else (404, b'{"detail": "No patient has this id"}')
        # what the benchmark asks for
        if path == "/changes":
            self._read_changes()
        if path == "/requests":
            requests, self._requests = self._requests, 0
            return 200, b"%d" % requests
        return 200, json.dumps(self._openapi if path == "/openapi.json" else "OK").encode()

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


@click.command()
@click.option("--database", type=click.Path(path_type=Path), required=True)
@click.option("--latency", type=float, required=True)
@click.option("--port", type=int, required=True)
def main(database: Path, latency: float, port: int) -> None:
    """Serve until killed."""
    uvicorn.run(FastApi(database, latency), port=port, log_level="error", lifespan="off")


if __name__ == "__main__":
    main()
