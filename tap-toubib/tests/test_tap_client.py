from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from time import monotonic

import pytest
from requests import Response
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_toubib.client import MAX_TRIES, ToubibClient, read_retry_after
from tap_toubib.testing import Answer, Api, serving

Connect = Callable[..., ToubibClient]

MARKER = b"Zq7marker"
QUERY = {"offset": 0, "limit": 5}


def in_future(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@contextmanager
def https_server(folder: Path) -> Iterator[str]:
    """Serve https with an untrusted certificate."""
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *names]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def assert_says_only(message: str, *expected: str) -> None:
    assert "\n" not in message
    for text in expected:
        assert text in message
    for text in (MARKER.decode(), "limit", "?"):
        assert text not in message


@pytest.mark.parametrize(
    ("token", "sent"), [("s3cret", "Bearer s3cret"), (None, None), ("", None)], ids=["token", "none", "empty"]
)
def test_token_and_user_agent_are_sent_with_every_request(
    api: Api, connect: Connect, token: str | None, sent: str | None
) -> None:
    client = connect(auth_token=token)
    client.get_openapi()
    client.get_patients(QUERY, json.loads)
    assert [request.headers.get("Authorization") for request in api.requests] == [sent, sent]
    assert {request.headers["User-Agent"] for request in api.requests} == {"tester/1"}


def test_token_is_sent_whatever_netrc_says(
    api: Api, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    connect(auth_token="s3cret").get_openapi()  # noqa: S106  # made up
    assert api.requests[0].headers["Authorization"] == "Bearer s3cret"


def test_cookie_of_the_service_is_sent_back(api: Api, connect: Connect) -> None:
    api.fail(404, times=1, Set_Cookie="replica=2")
    client = connect(api.url)
    client.get_openapi()
    client.get_openapi()
    assert [request.headers.get("Cookie") for request in api.requests] == [None, "replica=2"]


@pytest.mark.parametrize("base", ["", "/", "/toubib", "/toubib/"])
def test_paths_follow_the_base_url(api: Api, connect: Connect, base: str) -> None:
    api.fail(200, body=b"{}")
    connect(api.url + base).get_patients(QUERY, json.loads)
    assert api.requests[0].path == f"{base.rstrip('/')}/v1/patients"
    assert api.requests[0].query == {"offset": "0", "limit": "5"}


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "auth_token"), (403, "auth_token"), (404, "api_url"), (422, "422"), (400, "400")]
)
def test_refusal_ends_at_once_with_one_line(api: Api, connect: Connect, status: int, hint: str) -> None:
    api.fail(status, body=MARKER)
    with pytest.raises(FatalAPIError) as error:
        connect().get_patients(QUERY, json.loads)
    assert len(api.requests) == 1
    assert_says_only(str(error.value), f"GET {api.url}/v1/patients answered {status}", hint)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 599])
def test_failure_that_may_pass_is_tried_again_then_ends_with_one_line(
    api: Api, connect: Connect, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    api.fail(status, body=MARKER)
    with pytest.raises(RetriableAPIError) as error:
        connect().get_patients(QUERY, json.loads)
    assert len(api.requests) == MAX_TRIES
    assert_says_only(str(error.value), f"GET {api.url}/v1/patients answered {status}")
    [message] = caplog.messages
    assert_says_only(message, f"GET {api.url}/v1/patients answered {status}", "trying again for")
    assert "7 times: run again when the service is back" in str(error.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(body=MARKER, cut=True), "failed"),
        (Answer(body=MARKER, headers={"Content-Encoding": "gzip"}), "failed: ContentDecodingError 7 times"),
        (Answer(body=MARKER), "answered something that is not a page of patients (no page) 7 times"),
    ],
    ids=["cut", "gzip", "other"],
)
def test_damaged_body_is_tried_again(api: Api, connect: Connect, answer: Answer, message: str) -> None:
    def decode(body: bytes) -> bytes:
        if body == MARKER:
            raise ValueError("no page")
        return body

    api.script = [answer] * (MAX_TRIES - 1)
    assert connect().get_patients(QUERY, decode)
    api.script = [answer] * MAX_TRIES
    with pytest.raises(RetriableAPIError) as error:
        connect().get_patients(QUERY, decode)
    assert not api.script
    assert_says_only(str(error.value), f"GET {api.url}/v1/patients {message}")


@pytest.mark.parametrize("listening", [True, False], ids=["timeout", "refused"])
def test_service_that_does_not_answer_is_tried_again(
    connect: Connect, caplog: pytest.LogCaptureFixture, *, listening: bool
) -> None:
    start = monotonic()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listening:
            silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RetriableAPIError) as error:
            connect(url, timeout=0.02).get_patients(QUERY, json.loads)
    assert_says_only(str(error.value), f"GET {url}/v1/patients failed", "Timeout" if listening else "refused")
    assert len(caplog.messages) == 1
    assert monotonic() - start < 5


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds before each further attempt, which are not waited for."""
    waits: list[float] = []
    monkeypatch.setattr("backoff._sync.time.sleep", waits.append)
    return waits


def test_service_that_asks_for_a_wait_gets_it_unless_a_longer_one_is_due(
    api: Api, connect: Connect, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tap_toubib.client.FIRST_WAIT", 0.75)
    api.fail(429, times=3, Retry_After="1")
    connect().get_openapi()
    assert waits == [1, 1.5, 3]


def test_outage_is_logged_once_and_again_if_the_wait_gets_longer(
    api: Api, connect: Connect, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    client = connect()

    def get_page(_: int) -> None:
        with pytest.raises(RetriableAPIError):
            client.get_patients(QUERY, json.loads)

    api.fail(503, times=2 * MAX_TRIES)
    with ThreadPoolExecutor(2) as executor:
        list(executor.map(get_page, range(2)))
    assert caplog.messages == [f"GET {api.url}/v1/patients answered 503 Service Unavailable; trying again for 0 s"]
    api.fail(503, times=1, Retry_After="200")
    client.get_openapi()
    assert "trying again for 200 s" in caplog.messages[1]
    api.fail(503, times=1)
    client.get_openapi()
    assert len(caplog.messages) == 3
    assert waits


def wait_for(value: str) -> float:
    response = Response()
    response.headers["Retry-After"] = value
    return read_retry_after(response)


@pytest.mark.parametrize("wait", ["0", "-5", "soon", "", "²", "Thu, 01 Jan 1970 00:00:00 GMT", "1e9"])
def test_wait_without_sense_is_ignored(wait: str) -> None:
    assert wait_for(wait) == 0


@pytest.mark.parametrize("wait", [lambda: "2", lambda: in_future(3)], ids=["seconds", "date"])
def test_service_that_asks_for_too_long_a_wait_has_failed(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch, wait: Callable[[], str]
) -> None:
    monkeypatch.setattr("tap_toubib.client.MAX_RETRY_AFTER", 1)
    api.fail(503, Retry_After=wait())
    with pytest.raises(FatalAPIError, match=r"answered 503 .* and asks for \w+ s of patience, more than 1 s$"):
        connect().get_openapi()
    assert len(api.requests) == 1


@pytest.mark.parametrize("status", [401, 500])
def test_credentials_in_the_url_are_never_shown(
    api: Api, connect: Connect, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    api.fail(status)
    with pytest.raises((FatalAPIError, RetriableAPIError)) as error:
        connect(api.url.replace("://", "://someone:s3cret@")).get_openapi()
    assert f"{api.url}/openapi.json" in str(error.value)
    assert "s3cret" not in str(error.value) + caplog.text


@pytest.mark.parametrize("hidden", ["", "?key=s3cret", "#s3cret", "/?key=s3cret@home"])
def test_address_that_people_see_has_no_credentials_and_no_query(connect: Connect, hidden: str) -> None:
    address = connect(f"http://someone:s3cret@host:8000/api{hidden}").address
    assert address.removesuffix("/") == "http://host:8000/api"


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://[::", "http:// /"])
def test_url_that_cannot_be_requested_is_an_error_of_one_line(connect: Connect, url: str) -> None:
    with pytest.raises((FatalAPIError, RetriableAPIError)) as error:
        connect(url).get_openapi()
    assert_says_only(str(error.value), "failed")


@pytest.mark.parametrize(
    ("status", "body"), [(404, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b"null"), (200, b"\xff"), (200, b"")]
)
def test_service_without_a_readable_openapi_document_has_an_empty_one(
    api: Api, connect: Connect, status: int, body: bytes
) -> None:
    api.fail(status, times=1, body=body)
    assert connect().get_openapi() == {}


def test_untrusted_certificate_is_reported_at_once(
    connect: Connect, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with https_server(tmp_path) as url:
        with pytest.raises(FatalAPIError) as error:
            connect(url).get_openapi()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        assert connect(url).get_openapi() == {}
    assert_says_only(
        str(error.value), f"GET {url}/openapi.json failed", "certificate verify failed", "REQUESTS_CA_BUNDLE"
    )
    assert not caplog.messages


@pytest.fixture
def elsewhere() -> Iterator[Api]:
    """Another server, to which the API redirects."""
    other = Api()
    with serving(other):
        yield other


def test_redirect_is_followed_without_the_token(api: Api, elsewhere: Api, connect: Connect) -> None:
    api.fail(307, times=1, Location=f"{elsewhere.url}/v1/patients?offset=0&limit=5")
    assert connect(auth_token="s3cret").get_patients(QUERY, json.loads)  # noqa: S106  # made up
    assert elsewhere.requests[0].query == {"offset": "0", "limit": "5"}
    assert "Authorization" not in elsewhere.requests[0].headers


@pytest.mark.parametrize(
    ("url", "failure"), [("{}/moved", "answered 401 Unauthorized"), ("http://127.0.0.1:1/moved", "failed")]
)
def test_failure_behind_a_redirect_names_where_it_led(
    api: Api, elsewhere: Api, connect: Connect, url: str, failure: str
) -> None:
    led_to = url.format(elsewhere.url)
    api.fail(302, Location=f"{led_to.replace('://', '://someone:s3cret@')}?limit=5")
    elsewhere.fail(401)
    with pytest.raises((FatalAPIError, RetriableAPIError)) as error:
        connect(auth_token="s3cret").get_patients(QUERY, json.loads)  # noqa: S106  # made up
    assert_says_only(str(error.value), f"GET {led_to} {failure}")
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_service_on_this_machine_is_reached_without_the_proxy(
    api: Api, connect: Connect, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.delenv("NO_PROXY")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert connect(api.url.replace("127.0.0.1", host)).get_openapi() == api.document
    with pytest.raises(RetriableAPIError, match="refused"):
        connect("http://192.0.2.1").get_openapi()
