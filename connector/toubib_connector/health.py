"""Whether the API answers, asked before anything is started."""

from __future__ import annotations

import click
import requests

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
    except requests.RequestException as error:
        raise click.ClickException(
            f"No answer from {url} ({type(error).__name__}). Start the API, or set API_BASEURL to where it listens."
        ) from error
    if response.status_code == requests.codes.unauthorized:
        raise click.ClickException(f"{url} answered 401 Unauthorized. Set TAP_TOUBIB_AUTH_TOKEN to a valid token.")
    if not response.ok or response.text.strip() != '"OK"':
        raise click.ClickException(
            f'{url} answered {response.status_code} {response.reason}, and not "OK". '
            "Is API_BASEURL the base URL of a healthy Toubib service?"
        )
    click.echo(response.text)
