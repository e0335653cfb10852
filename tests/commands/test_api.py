"""The choice of an API, and the messages about an API that cannot be read."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, Response
from support import PROJECT

from tap_toubib.testing import Api as ScriptedApi
from tap_toubib.testing import serving as serving_script
from toubib_api.testing import serving
from toubib_connector import api as module
from toubib_connector.api import Api, check_health, choose_api
from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


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


@contextmanager
def another_service() -> Iterator[str]:
    with serving(api_that_answers(200, text="<html>")) as url:
        yield url


@contextmanager
def choosing(local: str) -> Iterator[Api]:
    """Choose an API without a setting, with `local` as the address on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOCAL", local)
        with choose_api(Settings(Destination(PROJECT / "x.duckdb"), {})) as api:
            yield api


def failure(url: str, token: str | None = None) -> str:
    with pytest.raises(Failure) as caught:
        check_health(url, token)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_toubib_on_this_machine_is_preferred_to_the_bundled_api() -> None:
    with serving(api_that_answers(200)) as local, choosing(local) as api:
        assert (api.url, api.is_bundled) == (local, False)


@pytest.mark.parametrize("something", [nothing, listener, another_service])
def test_without_a_toubib_on_this_machine_the_bundled_api_is_started_for_the_run(
    monkeypatch: pytest.MonkeyPatch, something: Callable[[], AbstractContextManager[str]]
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 2)
    with something() as local, choosing(local) as api:
        assert api.is_bundled
    assert failure(api.url).startswith(f"No answer from {api.url}/health")


@pytest.mark.parametrize(
    ("program", "reason"),
    [("/none", "No answer from {}/health"), ("/bin/false", "The bundled API does not start; `make api` shows why")],
)
def test_a_bundled_api_that_is_missing_or_does_not_start_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, program: str, reason: str
) -> None:
    monkeypatch.setattr(module, "BUNDLED", Path(program))
    with nothing() as local, pytest.raises(Failure, match=reason.format(local)), choosing(local):
        pass


def test_the_health_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(api_that_answers(200)) as url:
        check_health(url.replace("//", "//user:secret@"))
    assert capsys.readouterr().out.splitlines() == [f"GET {url}/health:", '"OK"']


@pytest.mark.parametrize("info", [{}, {"x-bundled-api": "true"}])
def test_only_the_bundled_api_is_recognised_as_bundled(info: dict[str, Any]) -> None:
    with serving(api_that_answers(200, **info)) as url:
        assert not check_health(url).is_bundled


@pytest.mark.parametrize("status", [200, 401, 404, 500])
def test_a_service_that_is_not_a_healthy_toubib_is_refused(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(module, "RETRIES", module.RETRIES.new(backoff_factor=0))
    with serving(api_that_answers(status, text="a secret")) as url:
        message = failure(url)
    assert message.startswith(f"{url}/health answered {status}")
    assert "a secret" not in message


def test_a_health_that_is_busy_is_asked_again() -> None:
    with serving(api_that_answers(429, 503, 200)) as url:
        check_health(url)


def test_an_api_that_is_down_or_without_https_is_reported_at_once() -> None:
    started = time.monotonic()
    with nothing() as url:
        assert failure(url).startswith(f"No answer from {url}/health")
    with serving(api_that_answers(200)) as url:
        assert "(SSLError). Set API_BASEURL" in failure(url.replace("http:", "https:"))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("address", ["toubib", "ftp://toubib", "http://"])
def test_an_invalid_address_is_refused(address: str) -> None:
    assert "set API_BASEURL to where it listens, such as http://toubib:8000" in failure(address)


@pytest.mark.parametrize("token", ["from a file\n", "ключ", "\udce9"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    with serving(api_that_answers(200)) as url:
        message = failure(url, token)
    assert message.endswith("Set TAP_TOUBIB_AUTH_TOKEN to a valid token.")
    assert token not in message


def test_a_proxy_is_asked_unless_the_api_is_on_this_machine_or_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 1)
    with serving(api_that_answers(200)) as url, serving(FastAPI()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        check_health(url)
        assert "answered 404" in failure("http://toubib.invalid")
        monkeypatch.setenv("no_proxy", "invalid")
        assert "No answer" in failure("http://toubib.invalid")


def test_the_token_is_sent_to_the_service_only_and_instead_of_what_a_netrc_file_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("default login user password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    api, elsewhere = ScriptedApi(), ScriptedApi()
    with serving_script(api), serving_script(elsewhere):
        api.fail(307, Location=f"{elsewhere.url}/health")
        elsewhere.fail(200, body=b'"OK"')
        check_health(api.url, "s3cret")
    assert api.requests[0].headers["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in str(elsewhere.requests[0].headers)


def test_an_untrusted_certificate_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert "or REQUESTS_CA_BUNDLE to" in failure(url)
        assert connections == 1
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        check_health(url)
        listening.shutdown(socket.SHUT_RDWR)
