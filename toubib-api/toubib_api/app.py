"""The service."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from fastapi import FastAPI, Request, status
from fastapi.exceptions import RequestValidationError, ResponseValidationError, ValidationException
from fastapi.responses import JSONResponse
from fastapi_sqla import sqla

from toubib_api.database import database_url, prepare
from toubib_api.patients import patients_router

_app_numbers = count(1)


def create_app(database: Path) -> FastAPI:
    """Build the service over a database file, which is created when the app starts if there is none.

    Any number of apps can live in one process: fastapi-sqla keeps its sessions by key, and each app has its own.

    Args:
        database: The SQLite file.
    """
    key = f"toubib{next(_app_numbers)}"

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        prepare(database)
        # fastapi-sqla is configured by the environment only.
        os.environ[f"fastapi_sqla__{key}__sqlalchemy_url"] = database_url(database)
        # A request holds its connection while it waits for a thread: with a limit, the requests that wait for a
        # connection would hold every thread.
        os.environ[f"fastapi_sqla__{key}__sqlalchemy_max_overflow"] = "-1"
        sqla.startup(key)
        yield
        with sqla.open_session(key) as session:
            session.get_bind().engine.dispose()

    app = FastAPI(title="Toubib", description="Every patient is made up.", lifespan=lifespan)
    # Not fastapi-sqla's `setup_middlewares`, which would open a session of every app of the process.
    app.add_middleware(sqla.SessionMiddleware, key=key)
    for error in (OverflowError, UnicodeEncodeError):
        app.exception_handler(error)(_cannot_be_stored)
    for invalid in (RequestValidationError, ResponseValidationError):
        app.exception_handler(invalid)(_invalid)
    app.include_router(patients_router(key), prefix="/v1")

    @app.get("/health")
    def health() -> str:
        return "OK"

    # what loads these patients can tell that they are made up
    app.openapi()["info"]["x-bundled-api"] = True
    return app


def _cannot_be_stored(_: Request, __: Exception) -> JSONResponse:
    """Refuse what JSON can say and SQLite cannot hold: large integers, and what is not a character."""
    return JSONResponse({"detail": "A value cannot be stored"}, status.HTTP_422_UNPROCESSABLE_CONTENT)


def _invalid(_: Request, error: ValidationException) -> JSONResponse:
    """Answer like FastAPI, but without the values: some fit no JSON, and a failed answer would land in the log."""
    detail = [{"type": each["type"], "loc": each["loc"], "msg": each["msg"]} for each in error.errors()]
    asked = isinstance(error, RequestValidationError)
    code = status.HTTP_422_UNPROCESSABLE_CONTENT if asked else status.HTTP_500_INTERNAL_SERVER_ERROR
    return JSONResponse({"detail": detail}, code)
