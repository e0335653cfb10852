"""The choice of an API, and the messages about an API that cannot be read."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, Response
from support import PROJECT, bundled_api

from tap_toubib.testing import Api as ScriptedApi
from tap_toubib.testing import serving as serving_script
from toubib_api.testing import serving
from toubib_connector import api as module
from toubib_connector.api import check_health, choose_api
from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for the bundled API's data that is not the user's."""
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(module, "PROJECT", tmp_path)


def api_that_answers(*statuses: int, text: str = '"OK"', **info: Any) -> FastAPI:
    """An API whose health has one status after the other, the last one from then on."""
    app = FastAPI(openapi_url=None)
    remaining = list(statuses)

    @app.get("/health")
    def health() -> Response:
        return Response(text, remaining.pop(0) if len(remaining) > 1 else remaining[0])

    @app.get("/openapi.json")
    def document() -> dict[str, Any]:
        return {"info": info}

    return app


@contextmanager
def listener() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def nothing() -> Iterator[str]:
    """An address at which nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


def settings(api_url: str | None = None, token: str | None = None, **environment: str) -> Settings:
    return Settings(Destination(PROJECT / "x.duckdb"), environment, api_url=api_url, auth_token=token)


@contextmanager
def choosing(local: str) -> Iterator[str]:
    """Choose an API without a setting, with `local` as the address on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOCAL", local)
        with choose_api(settings()) as url:
            yield url


def failure(url: str, token: str | None = None, **environment: str) -> str:
    with pytest.raises(Failure) as caught:
        check_health(url, settings(token=token, **environment))
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_toubib_on_this_machine_is_preferred_to_the_bundled_api() -> None:
    with serving(api_that_answers(200)) as local, choosing(local) as url:
        assert url == local


@pytest.mark.parametrize("text", ["<html>", "not OK"])
def test_another_service_on_this_machine_is_not_taken_for_a_toubib(text: str) -> None:
    with serving(api_that_answers(200, text=text)) as local, choosing(local) as url:
        assert url != local
        assert check_health(url, settings()).is_bundled


def test_a_server_that_never_answers_is_not_waited_for() -> None:
    started = time.monotonic()
    with listener() as local, choosing(local) as url:
        assert url != local
    assert time.monotonic() - started < module.START_TIMEOUT / 2


def test_the_bundled_api_ends_with_the_run() -> None:
    with nothing() as local, choosing(local) as url:
        assert check_health(url, settings()).is_bundled
    assert failure(url).startswith(f"No answer from {url}/health")


def test_without_the_bundled_api_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUNDLED", PROJECT / "none")
    with nothing() as local, pytest.raises(Failure, match=f"No Toubib answers on {local}"), choosing(local):
        pass


def test_a_bundled_api_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "toubib-api"
    broken.write_text("#!/bin/sh\necho the reason; exit 3\n")
    broken.chmod(0o700)
    monkeypatch.setattr(module, "BUNDLED", broken)
    with nothing() as local, pytest.raises(Failure, match="does not start: the reason"), choosing(local):
        pass


def test_the_health_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(api_that_answers(200)) as url:
        check_health(url.replace("//", "//user:secret@"), settings())
    assert capsys.readouterr().out.splitlines() == [f"GET {url}/health:", '"OK"']


def test_only_the_bundled_api_is_recognised_as_bundled(tmp_path: Path) -> None:
    with bundled_api(tmp_path / "toubib.sqlite") as bundled:
        assert check_health(bundled.url, settings()).is_bundled
    for info in ({}, {"x-bundled-api": False}, {"x-bundled-api": "true"}):
        with serving(api_that_answers(200, **info)) as url:
            assert not check_health(url, settings()).is_bundled


@pytest.mark.parametrize("status", [200, 401, 404, 500])
def test_a_service_that_is_not_a_healthy_toubib_is_refused(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(module, "RETRIES", module.RETRIES.new(backoff_factor=0))
    with serving(api_that_answers(status, text="a secret")) as url:
        message = failure(url)
    assert message.startswith(f"{url}/health answered {status}")
    assert "a secret" not in message


def test_a_health_that_is_busy_is_asked_again() -> None:
    with serving(api_that_answers(429, 503, 200)) as url:
        check_health(url, settings())


def test_an_api_that_is_down_is_reported_at_once() -> None:
    started = time.monotonic()
    with nothing() as url:
        assert failure(url).startswith(f"No answer from {url}/health")
    assert time.monotonic() - started < 3


def test_a_service_without_https_is_reported_at_once() -> None:
    started = time.monotonic()
    with serving(api_that_answers(200)) as url:
        assert "does not speak https" in failure(url.replace("http:", "https:"))
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("address", ["toubib", "ftp://toubib", "http://"])
def test_an_invalid_address_is_refused(address: str) -> None:
    assert "API_BASEURL must look like http://toubib:8000" in failure(address)


@pytest.mark.parametrize("token", ["from a file\n", "ключ", "\udce9"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    with serving(api_that_answers(200)) as url:
        assert failure(url, token).startswith("TAP_TOUBIB_AUTH_TOKEN holds what no header can")


def test_a_proxy_is_asked_unless_the_api_is_on_this_machine_or_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 1)
    with serving(api_that_answers(200)) as url, serving(FastAPI()) as proxy:
        check_health(url, settings(HTTP_PROXY=proxy, http_proxy=proxy))
        assert "answered 404" in failure("http://toubib.invalid", http_proxy=proxy)
        assert "answered 404" in failure("http://toubib.invalid", ALL_PROXY=proxy)
        assert "No answer" in failure("http://toubib.invalid", HTTP_PROXY=proxy, no_proxy="invalid")


def test_a_redirect_to_another_server_is_followed_without_the_token() -> None:
    api, elsewhere = ScriptedApi(), ScriptedApi()
    with serving_script(api), serving_script(elsewhere):
        api.fail(307, Location=f"{elsewhere.url}/health")
        elsewhere.fail(200, body=b'"OK"')
        check_health(api.url, settings(token="s3cret"))  # noqa: S106 (made up)
    assert api.requests[0].headers["Authorization"] == "Bearer s3cret"
    assert "Authorization" not in elsewhere.requests[0].headers


def test_an_untrusted_certificate_is_reported_at_once(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *files, *subject], check=True, capture_output=True)  # noqa: S607
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    connections = 0
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            nonlocal connections
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    connections += 1
                    with suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(1000)
                        secure.sendall(b'HTTP/1.0 200 OK\r\n\r\n"OK"')

        threading.Thread(target=accept, daemon=True).start()
        url = f"https://localhost:{listening.getsockname()[1]}"
        assert failure(url).startswith(f"The certificate of {url}/health was refused. ")
        assert connections == 1
        check_health(url, settings(REQUESTS_CA_BUNDLE=str(certificate)))
        listening.shutdown(socket.SHUT_RDWR)
