"""Whether the API answers, asked before anything is started."""

from __future__ import annotations

import click
import requests
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema

TIMEOUT = 10
"""Seconds."""


def check_health(api_url: str, auth_token: str | None) -> None:
    """Ask the service for its health and print the question and the answer.

    Raises:
        click.ClickException: There is no answer, or it is not that of a healthy Toubib service.
    """
    url = f"{api_url.rstrip('/')}/health"
    headers = {"Authorization": f"Bearer {auth_token}"} if auth_token else {}
    click.echo(f"GET {url}:")
    try:
        response = requests.get(url, headers=headers, timeout=TIMEOUT)
    except (MissingSchema, InvalidSchema, InvalidURL) as error:
        raise click.ClickException(f"{url} is no address. API_BASEURL must look like http://toubib:8000.") from error
    except requests.RequestException as error:
        raise click.ClickException(
            f"No answer from {url} ({type(error).__name__}). Start the API, or set API_BASEURL to where it listens."
        ) from error
    if response.status_code in {requests.codes.unauthorized, requests.codes.forbidden}:
        raise click.ClickException(
            f"{url} answered {response.status_code} {response.reason}. Set TAP_TOUBIB_AUTH_TOKEN to a valid token."
        )
    if not response.ok or response.text.strip() != '"OK"':
        raise click.ClickException(
            f'{url} answered {response.status_code} {response.reason}, but not the "OK" of a healthy Toubib service. '
            "Is API_BASEURL right?"
        )
    click.echo(response.text)
