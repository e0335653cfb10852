"""An API that fails now and then: all is there in the end."""

from __future__ import annotations

from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from support import Api

from toubib_api.app import create_app
from toubib_api.database import prepare
from toubib_api.testing import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support import Destination


class Faults:
    """Something between an application and its clients, which counts the pages asked for and lets some answers fail."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._random = Random(1)  # noqa: S311 (a game, no secret)
        self.rates = {"error": 0.0, "busy": 0.0, "cut": 0.0}
        self.counts = {"error": 0, "busy": 0, "cut": 0, "good": 0}

    @property
    def list_requests(self) -> int:
        return sum(self.counts.values())

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or scope["path"] != "/v1/patients":
            await self._app(scope, receive, send)
            return
        [fault] = self._random.choices([*self.rates, "good"], [*self.rates.values(), 1 - sum(self.rates.values())])
        self.counts[fault] += 1

        async def cut(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": message["body"][:-1]}
            await send(message)

        if fault in {"good", "cut"}:
            await self._app(scope, receive, cut if fault == "cut" else send)
            return
        status, headers = (500, []) if fault == "error" else (429, [(b"retry-after", b"1")])
        await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@contextmanager
def faulty(database: Path, patients: int) -> Iterator[tuple[Api, Faults]]:
    """Serve the bundled API with faults, none at first."""
    prepare(database, patients=patients)
    faults = Faults(create_app(database))
    with serving(faults) as url:
        yield Api(url, database), faults


@pytest.mark.complete
def test_an_api_that_fails_now_and_then(
    tmp_path: Path, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAP_TOUBIB_PAGE_SIZE", "10")
    with faulty(tmp_path / "toubib.sqlite", 3_000) as (api, faults):
        faults.rates = {"error": 0.03, "busy": 0.02, "cut": 0.02}
        outcome = destination.make("run", api_url=api.url)
        assert outcome.returncode == 0, outcome.stdout
        assert min(faults.counts.values()) > 0
        # discovery looks at a page, too
        assert destination.runs()[-1]["requests"] == faults.list_requests - 1
        faults.rates.clear()
        current = destination.query("select patient_id, email from main.patients order by 1")
        assert current == [(patient["id"], patient["email"]) for _, patient in sorted(api.patients().items())]
