"""Whether the API answers, asked before anything is started."""

from __future__ import annotations

import re

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema
from urllib3 import Retry

from toubib_connector.log import Failure, say

TIMEOUT = 10
"""Seconds."""

BUSY = (429, 500, 502, 503, 504)
RETRIES = Retry(
    connect=0,
    read=0,
    status=5,
    status_forcelist=BUSY,
    backoff_factor=0.5,
    respect_retry_after_header=False,
    raise_on_status=False,
)
"""For a quarter of a minute; what does not listen is not waited for."""


def check_health(api_url: str, auth_token: str | None) -> None:
    """Ask the service for its health and print the question and the answer.

    Raises:
        Failure: There is no answer, or it is not that of a healthy Toubib service.
    """
    asked = f"{api_url.rstrip('/')}/health"
    url = re.sub("//[^/]*@", "//", asked)
    headers = {"Authorization": f"Bearer {auth_token}"} if auth_token else {}
    say(f"GET {url}:")
    try:
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
            response = session.get(asked, headers=headers, timeout=TIMEOUT)
    except InvalidHeader as error:
        raise Failure("TAP_TOUBIB_AUTH_TOKEN holds what no header can, such as a line break.") from error
    except (MissingSchema, InvalidSchema, InvalidURL) as error:
        raise Failure(f"{url} is no address. API_BASEURL must look like http://toubib:8000.") from error
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
            f'{url} answered {response.status_code} {response.reason}, but not the "OK" of a healthy Toubib service. '
            + ("Run again later." if response.status_code in BUSY else "Is API_BASEURL right?")
        )
    say(response.text)
