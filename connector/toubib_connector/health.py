"""Whether the API answers, asked before anything is started."""

from __future__ import annotations

import re

import requests
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema

from toubib_connector.log import Failure, say

TIMEOUT = 10
"""Seconds."""


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
        response = requests.get(asked, headers=headers, timeout=TIMEOUT)
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
            "Is API_BASEURL right?"
        )
    say(response.text)
