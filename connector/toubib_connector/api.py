"""Choose the API of a run, and check its health."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from tempfile import TemporaryFile
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema, SSLError
from requests.utils import should_bypass_proxies
from urllib3 import Retry

from toubib_connector.errors import Failure
from toubib_connector.log import say
from toubib_connector.settings import PROJECT, Settings

LOCAL = "http://localhost:8000"
BUNDLED = PROJECT / ".venvs" / "toubib-api" / "bin" / "toubib-api"

TIMEOUT = 10
"""Seconds."""

START_TIMEOUT = 30
"""Seconds that the bundled API has to start."""

BUSY = (429, 500, 502, 503, 504)
RETRIES = Retry(
    # look up a name once more if it did not resolve, but never retry a refused certificate
    connect=1,
    other=0,
    read=0,
    status=5,
    status_forcelist=BUSY,
    backoff_factor=0.5,
    respect_retry_after_header=False,
    raise_on_status=False,
)
"""Retries for a quarter of a minute. If nothing listens, a run fails at once."""


@dataclass(frozen=True)
class Api:
    """A healthy service.

    Attributes:
        url: Its base URL.
        is_bundled: Whether it is the bundled API, whose patients are made up.
    """

    url: str
    is_bundled: bool

    @property
    def shown_url(self) -> str:
        """The base URL without credentials."""
        return re.sub("//[^/]*@", "//", self.url)


@contextmanager
def choose_api(settings: Settings) -> Iterator[str]:
    """Yield the base URL: the setting, a Toubib on this machine, or the bundled API, started for the run.

    Raises:
        Failure: No URL is set, no Toubib answers here, and the bundled API is not installed or does not start.
    """
    if settings.api_url or _is_toubib(LOCAL):
        yield settings.api_url or LOCAL
    elif BUNDLED.exists():
        with _serve_bundled() as url:
            yield url
    else:
        raise Failure(f"No Toubib answers on {LOCAL}. Start the API, or set API_BASEURL to where it listens.")


def check_health(api_url: str, settings: Settings) -> Api:
    """Request the service's health, and print the request and the answer.

    Raises:
        Failure: The service does not answer, or is not a healthy Toubib.
    """
    base = api_url.rstrip("/")
    url = f"{Api(base, is_bundled=False).shown_url}/health"
    say(f"GET {url}:")
    with _open_session(base, settings.environment) as session:
        if settings.auth_token:
            session.headers["Authorization"] = f"Bearer {settings.auth_token}"
        try:
            response = session.get(f"{base}/health", timeout=TIMEOUT)
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
        answer = f"{url} answered {response.status_code} {response.reason}"
        if response.status_code in {requests.codes.unauthorized, requests.codes.forbidden}:
            raise Failure(f"{answer}. Set TAP_TOUBIB_AUTH_TOKEN to a valid token.")
        if not response.ok or response.text.strip() != '"OK"':
            advice = "Run again later." if response.status_code in BUSY else "Is API_BASEURL right?"
            raise Failure(f'{answer}, but not the "OK" of a healthy Toubib service. {advice}')
        say(response.text)
        with suppress(requests.RequestException, LookupError, TypeError):
            document = session.get(f"{base}/openapi.json", timeout=TIMEOUT).json()
            return Api(api_url, is_bundled=document["info"]["x-bundled-api"] is True)
        return Api(api_url, is_bundled=False)


def _open_session(url: str, environment: Mapping[str, str]) -> requests.Session:
    """Return a session that retries. An API on this machine is reached without a proxy."""

    def find(name: str) -> str | None:
        return environment.get(name) or environment.get(name.upper())

    session = requests.Session()
    # requests itself would read the environment without `.env`
    session.trust_env = False
    session.verify = find("requests_ca_bundle") or True
    for scheme in ("http", "https"):
        session.mount(f"{scheme}://", HTTPAdapter(max_retries=RETRIES))
    if not _is_loopback(url) and not should_bypass_proxies(url, find("no_proxy")):
        session.proxies = {scheme: find(f"{scheme}_proxy") or find("all_proxy") or "" for scheme in ("http", "https")}
    return session


def _is_loopback(url: str) -> bool:
    with suppress(ValueError):
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    return False


def _is_toubib(url: str) -> bool:
    """Return whether a healthy Toubib answers within seconds; any service may listen there."""
    with suppress(requests.RequestException), _open_session(url, {}) as session:
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
