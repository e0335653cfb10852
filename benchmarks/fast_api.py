"""A Toubib API that costs next to nothing, patients prepared in memory: it is the connector that is measured."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import click
import uvicorn
from fastapi import FastAPI

from toubib_api import CURRENT
from toubib_api.patients import patients_router

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]

OPENING = datetime(2020, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=100)
"""Between the updates of two patients: more than the tap looks back, so that a run reads no change twice."""


@dataclass
class FastApi:
    """The service, an ASGI application.

    Attributes:
        patients: How many it holds; ids are 1 to this, and updated in this order.
        latency: Seconds that every answer takes.
        list_requests: How many pages were asked for.
        began_at: When the first of them came, by the event loop's clock.
        ended_at: When the last of them was answered.
    """

    patients: int
    latency: float = 0
    list_requests: int = 0
    began_at: float = 0
    ended_at: float = 0
    _rows: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare the answers."""
        self._rows = [self._row(number, OPENING + number * STEP) for number in range(self.patients)]
        documented = FastAPI()
        documented.include_router(patients_router(CURRENT, "unused"), prefix="/v1")
        self._fixed = {"/openapi.json": json.dumps(documented.openapi()).encode(), "/health": b'"OK"'}

    def _row(self, number: int, updated_at: datetime) -> bytes:
        return json.dumps(
            {
                "id": number + 1,
                "email": f"patient{number}@example.org",
                "first_name": f"First {number % 1000}",
                "last_name": f"Last {updated_at.timestamp():.0f}",
                "date_of_birth": f"19{number % 90 + 10}-01-31",
                "created_at": OPENING.isoformat(),
                "updated_at": updated_at.isoformat(),
                "total_visits": number % 50,
            }
        ).encode()

    def page(self, query: dict[str, str]) -> bytes:
        """Return the answer to the list operation."""
        offset, end = int(query["offset"]), int(query["offset"]) + int(query["limit"])
        rows = self._rows[::-1][offset:end] if query["sort_field"] == "updated_at" else self._rows[offset:end]
        return b'{"data": [%b], "meta": {"total_items": %d}}' % (b", ".join(rows), self.patients)

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            return
        await receive()
        clock = asyncio.get_running_loop().time
        query = dict(parse_qsl(scope["query_string"].decode()))
        if scope["path"] == "/v1/patients":
            self.list_requests += 1
            self.began_at = self.began_at or clock()
            body = self.page(query)
        elif scope["path"] == "/requests":
            seconds = self.ended_at - self.began_at
            body = json.dumps({"list_requests": self.list_requests, "seconds": seconds}).encode()
            self.list_requests, self.began_at = 0, 0
        else:
            body = self._fixed[scope["path"]]
        await asyncio.sleep(self.latency)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
        if scope["path"] == "/v1/patients":
            self.ended_at = clock()


@click.command()
@click.option("--patients", type=int, default=100_000)
@click.option("--latency", type=float, default=0, help="Seconds that every answer takes.")
@click.option("--port", type=int, required=True)
def main(patients: int, latency: float, port: int) -> None:
    """Serve until killed."""
    uvicorn.run(FastApi(patients, latency), port=port, log_level="error", lifespan="off")


if __name__ == "__main__":
    main()
