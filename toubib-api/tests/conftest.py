import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import uvicorn

from toubib_api import CURRENT, Release, create_app, prepare

Call = Callable[..., tuple[int, Any]]


@contextmanager
def running(database: Path, release: Release) -> Iterator[str]:
    config = uvicorn.Config(create_app(database, release), port=0, log_level="warning", timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


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
    """Serve a database file until the test ends; what comes back calls the server."""
    with ExitStack() as servers:

        def serve(release: Release = CURRENT, patients: int = 42, database: Path = tmp_path / "toubib.sqlite") -> Call:
            prepare(database, release, patients)
            address = servers.enter_context(running(database, release))
            return lambda method, path, *args, **parameters: call(method, address + path, *args, **parameters)

        yield serve
