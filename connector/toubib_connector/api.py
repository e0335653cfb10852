"""The API of a run: which one it is, and whether it answers, asked before anything is started."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema, SSLError
from urllib3 import Retry

from toubib_connector.errors import Failure
from toubib_connector.log import say
from toubib_connector.settings import PROJECT

LOCAL = "http://localhost:8000"
BUNDLED = PROJECT / ".venvs" / "toubib-api" / "bin" / "toubib-api"

TIMEOUT = 10
"""Seconds."""

START_TIMEOUT = 30
"""Seconds that the bundled API has to start."""

BUSY = (429, 500, 502, 503, 504)
RETRIES = Retry(
    # a name that did not resolve is looked up once more; a certificate that was refused is not asked for again
    connect=1,
    other=0,
    read=0,
    status=5,
    status_forcelist=BUSY,
    backoff_factor=0.5,
    respect_retry_after_header=False,
    raise_on_status=False,
)
"""For a quarter of a minute; what does not listen is not waited for."""


@contextmanager
def choose_api(api_url: str | None, local: str = LOCAL) -> Iterator[str]:
    """Yield the base URL that was set, of a Toubib on this machine, or of the bundled API, which is started for it.

    Args:
        api_url: What was set; None for nothing.
        local: Where to look on this machine.

    Raises:
        Failure: Nothing was set, no Toubib answers there, and the bundled API is not installed or does not start.
    """
    if api_url or _is_toubib(local):
        yield api_url or local
    elif BUNDLED.exists():
        with _serve_bundled() as url:
            yield url
    else:
        raise Failure(f"No Toubib answers on {local}. Start the API, or set API_BASEURL to where it listens.")


def hide_credentials(url: str) -> str:
    """Return an address as it may be shown."""
    return re.sub("//[^/]*@", "//", url)


def check_health(api_url: str, auth_token: str | None) -> bool:
    """Ask the service for its health, print the question and the answer, and tell whether it is the bundled API.

    Raises:
        Failure: There is no answer, or not that of a healthy Toubib service.
    """
    asked = f"{api_url.rstrip('/')}/health"
    url = hide_credentials(asked)
    headers = {"Authorization": f"Bearer {auth_token}"} if auth_token else {}
    say(f"GET {url}:")
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
        try:
            response = session.get(asked, headers=headers, timeout=TIMEOUT)
        except (InvalidHeader, UnicodeError) as error:
            raise Failure("TAP_TOUBIB_AUTH_TOKEN holds what no header can, such as a line break.") from error
        except (MissingSchema, InvalidSchema, InvalidURL) as error:
            raise Failure(f"{url} is not an address. API_BASEURL must look like http://toubib:8000.") from error
        except SSLError as error:
            if "CERTIFICATE" not in str(error):
                raise Failure(f"{url} does not speak https. Is API_BASEURL right?") from error
            raise Failure(
                f"The certificate of {url} was refused. Set API_BASEURL to the name in the certificate, or "
                "REQUESTS_CA_BUNDLE to a file with the authority that issued it."
            ) from error
        except requests.RequestException as error:
            raise Failure(
                f"No answer from {url} ({type(error).__name__}). Start the API, or set API_BASEURL to where it listens."
            ) from error
        if response.status_code in {requests.codes.unauthorized, requests.codes.forbidden}:
            raise Failure(
                f"{url} answered {response.status_code} {response.reason}. Set TAP_TOUBIB_AUTH_TOKEN to a valid token."
            )
        if not response.ok or response.text.strip() != '"OK"':
            raise Failure(
                f'{url} answered {response.status_code} {response.reason}, but not the "OK" of a healthy Toubib '
                + ("service. Run again later." if response.status_code in BUSY else "service. Is API_BASEURL right?")
            )
        say(response.text)
        return _is_bundled(session, f"{api_url.rstrip('/')}/openapi.json", headers)


def _is_bundled(session: requests.Session, url: str, headers: dict[str, str]) -> bool:
    with suppress(requests.RequestException, LookupError, TypeError):
        return session.get(url, headers=headers, timeout=TIMEOUT).json()["info"]["x-bundled-api"] is True
    return False


def _is_toubib(url: str) -> bool:
    """Tell whether a healthy Toubib answers, within seconds: what listens there may be anything."""
    with suppress(requests.RequestException), requests.Session() as session:
        response = session.get(f"{url}/health", timeout=2, stream=True)
        return response.ok and response.raw.read(16).strip() == b'"OK"'
    return False


@contextmanager
def _serve_bundled() -> Iterator[str]:
    """Serve the bundled API and yield its base URL."""
    with TemporaryFile() as output:
        command = [str(BUNDLED), "serve", "--port=0", f"--database={PROJECT / 'data' / 'toubib.sqlite'}"]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + START_TIMEOUT
            while not (address := re.search(rb"http://[^ \n]+", _read(output.fileno()))):
                if process.poll() is not None or time.monotonic() > deadline:
                    lines = _read(output.fileno()).decode(errors="replace").splitlines() or ["no output"]
                    raise Failure(f"The bundled API does not start: {lines[-1]}")
                time.sleep(0.05)
            yield address[0].decode()
        finally:
            process.terminate()
            process.wait()


def _read(file: int) -> bytes:
    return os.pread(file, 65536, 0)
