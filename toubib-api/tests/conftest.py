import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from toubib_api import create_app, prepare
from toubib_api.testing import serving

Call = Callable[..., tuple[int, Any]]


@pytest.fixture
def call() -> Call:
    def call(method: str, url: str, body: Any = None, **parameters: Any) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{url}?{urlencode(parameters)}", data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=30) as response:
                return response.status, json.load(response)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)

    return call


@pytest.fixture
def serve(tmp_path: Path, call: Call) -> Iterator[Callable[..., Call]]:
    """Serve a database file until the test ends; return a function that sends requests."""
    with ExitStack() as servers:

        def serve(patients: int = 42, database: Path = tmp_path / "toubib.sqlite") -> Call:
            prepare(database, patients)
            address = servers.enter_context(serving(create_app(database)))
            return lambda method, path, *args, **parameters: call(method, address + path, *args, **parameters)

        yield serve
