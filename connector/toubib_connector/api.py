"""Choose the API of a run, and check its health."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, SSLError
from urllib3 import Retry

from toubib_connector.errors import Failure
from toubib_connector.log import say
from toubib_connector.settings import PROJECT, Settings

LOCAL = "http://localhost:8000"
BUNDLED = PROJECT / ".venvs" / "toubib-api" / "bin" / "toubib-api"

TIMEOUT = 10
"""Seconds."""

RETRIES = Retry(
    # look up a name once more if it did not resolve, but never retry a refused certificate
    connect=1,
    other=0,
    read=0,
    status=5,
    status_forcelist=(429, 500, 502, 503, 504),
    backoff_factor=0.5,
    respect_retry_after_header=False,
    raise_on_status=False,
)
"""Retries for a quarter of a minute. If nothing listens, a run fails at once."""

SET_URL = "Start the API, or set API_BASEURL to where it listens, such as http://toubib:8000."
SET_TOKEN = "Set TAP_TOUBIB_AUTH_TOKEN to a valid token."  # noqa: S105 (a sentence)
ADVICE = {
    InvalidHeader: SET_TOKEN,
    UnicodeError: SET_TOKEN,
    SSLError: "Set API_BASEURL to an address of its certificate, or REQUESTS_CA_BUNDLE to the authority's certificate.",
}
"""What to do about an exception; otherwise SET_URL."""


class Api(NamedTuple):
    """The base URL of a healthy service, and whether it is the bundled API, whose patients are made up."""

    url: str
    is_bundled: bool


@contextmanager
def choose_api(settings: Settings) -> Iterator[Api]:
    """Yield the service of the setting, a Toubib on this machine, or the bundled API, started for the run.

    Raises:
        Failure: The service is not a healthy Toubib, or the bundled API does not start.
    """
    url = settings.environment.get("API_BASEURL")
    try:
        api = check_health(url, settings.environment.get("TAP_TOUBIB_AUTH_TOKEN")) if url else check_health(LOCAL)
    except Failure:
        if url or not BUNDLED.exists():
            raise
    else:
        yield api
        return
    say("Starting the bundled API")
    with _serve_bundled() as url:
        yield check_health(url)


def check_health(api_url: str, token: str | None = None) -> Api:
    """Request the service's health, and print the request and the answer.

    Raises:
        Failure: The service does not answer, or is not a healthy Toubib.
    """
    base = api_url.rstrip("/")
    shown = f"{re.sub('//[^/]*@', '//', base)}/health"
    say(f"GET {shown}:")
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
            # otherwise a .netrc file would override the header
            session.auth = lambda request: request
        # a proxy cannot reach services of this machine
        exempt = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
        get = partial(session.get, timeout=TIMEOUT, proxies={"no_proxy": f"localhost,127.0.0.0/8,::1,{exempt}"})
        try:
            response = get(f"{base}/health")
        except (requests.RequestException, UnicodeError) as error:
            advice = next((advice for kind, advice in ADVICE.items() if isinstance(error, kind)), SET_URL)
            raise Failure(f"No answer from {shown} ({type(error).__name__}). {advice}") from error
        if not response.ok or response.text.strip() != '"OK"':
            answer = f"{shown} answered {response.status_code} {response.reason}"
            advice = SET_TOKEN if response.status_code in {401, 403} else SET_URL
            raise Failure(f'{answer}, but not the "OK" of a healthy Toubib service. {advice}')
        say(response.text)
        is_bundled = False
        with suppress(requests.RequestException, LookupError, TypeError):
            is_bundled = get(f"{base}/openapi.json").json()["info"]["x-bundled-api"] is True
    if is_bundled:
        say("Its patients are made up: this is the bundled API")
    return Api(api_url, is_bundled)


@contextmanager
def _serve_bundled() -> Iterator[str]:
    """Serve the bundled API and yield its base URL."""
    command = [str(BUNDLED), "serve", "--port=0", f"--database={PROJECT / 'data' / 'toubib.sqlite'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            address = re.search("http://[^ ]+", process.stdout.readline() if process.stdout else "")
            if not address:
                raise Failure("The bundled API does not start; `make api` shows why.")
            yield address[0]
        finally:
            process.terminate()
