"""The command line."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import click
import structlog
import uvicorn
from sqlalchemy.exc import DBAPIError

from toubib_api.app import create_app
from toubib_api.change import change
from toubib_api.database import prepare

_SECONDS_TO_STOP = 3

_database_option = partial(
    click.option, "--database", default="data/toubib.sqlite", envvar="TOUBIB_DATABASE", show_envvar=True
)


@contextmanager
def _readable_errors(database: Path) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, OSError) as error:
        raise click.ClickException(f"Cannot use the database {database}: {getattr(error, 'orig', error)}") from error


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        raise click.ClickException(f"Cannot listen on {host}:{port}: {error.strerror}") from error
    # asyncio sends without delay only if the socket names its protocol, which `create_server` does not
    return socket.socket(listener.family, listener.type, socket.IPPROTO_TCP, fileno=listener.detach())


@click.group()
def main() -> None:
    """Serve the Toubib API with made-up patients."""
    # fastapi-sqla logs each start of an engine, and repeats what uvicorn logs of a failed request
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@main.command(context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", envvar="TOUBIB_HOST", show_envvar=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    envvar="TOUBIB_PORT",
    show_envvar=True,
    help="Port to listen on; 0 takes a free one.",
)
@_database_option(type=click.Path(dir_okay=False, path_type=Path), help="SQLite file, created if it does not exist.")
@click.option(
    "--patients",
    type=click.IntRange(min=0),
    default=1000,
    envvar="TOUBIB_PATIENTS",
    show_envvar=True,
    help="Patients to make up if the file has none.",
)
@click.option("--seed", type=int, default=0, help="Equal seeds make up equal patients.")
@click.option("--access-log", is_flag=True, help="Log every request.")
def serve(  # noqa: PLR0913 (one argument an option)
    *, host: str, port: int, database: Path, patients: int, seed: int, access_log: bool
) -> None:
    """Serve the patients of a database file."""
    with _listen(host, port) as listener, _readable_errors(database):
        database.parent.mkdir(parents=True, exist_ok=True)
        count = prepare(database, patients, seed)
        app = create_app(database)
        config = uvicorn.Config(app, access_log=access_log, timeout_graceful_shutdown=_SECONDS_TO_STOP)
        click.echo(f"Serving {count} patients on http://{host}:{listener.getsockname()[1]} (Ctrl+C stops)")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run([listener])


@main.command("change", context_settings={"show_default": True})
@_database_option(
    type=click.Path(exists=True, dir_okay=False, path_type=Path), help="SQLite file; a server may be running on it."
)
@click.option("--update", type=click.IntRange(min=0), default=3, help="Patients to update.")
@click.option("--create", type=click.IntRange(min=0), default=2, help="Patients to create.")
@click.option("--remove", type=click.IntRange(min=0), default=0, help="Patients to remove.")
@click.option("--seed", type=int, help="Equal seeds make equal changes to equal files.")
def change_command(*, database: Path, update: int, create: int, remove: int, seed: int | None) -> None:
    """Update, create and remove random patients."""
    with _readable_errors(database):
        changes = change(database, update, create, remove, seed)
    for done, ids in changes._asdict().items():
        click.echo(" ".join([f"{done} {len(ids)}:", *map(str, ids)]))
