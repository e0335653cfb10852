"""The service."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from fastapi import FastAPI, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_sqla import sqla

from toubib_api.database import database_url, prepare
from toubib_api.patients import patients_router

_app_numbers = count(1)


def create_app(database: Path) -> FastAPI:
    """Build the service on a database file, which is created at the start if it does not exist.

    A process can have several apps: fastapi-sqla keeps sessions by key, and each app has its own key.
    """
    key = f"toubib{next(_app_numbers)}"

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        prepare(database)
        # fastapi-sqla reads its configuration from the environment only
        os.environ[f"fastapi_sqla__{key}__sqlalchemy_url"] = database_url(database)
        # a request keeps its connection while it waits for a thread: if connections were limited, requests that wait
        # for one could occupy all threads
        os.environ[f"fastapi_sqla__{key}__sqlalchemy_max_overflow"] = "-1"
        sqla.startup(key)
        yield
        with sqla.open_session(key) as session:
            session.get_bind().engine.dispose()

    app = FastAPI(title="Toubib", description="Every patient is made up.", lifespan=lifespan)
    # fastapi-sqla's `setup_middlewares` would open a session for every app of the process
    app.add_middleware(sqla.SessionMiddleware, key=key)
    for error in (OverflowError, UnicodeEncodeError):
        app.exception_handler(error)(_cannot_be_stored)
    app.exception_handler(RequestValidationError)(_refuse)
    app.include_router(patients_router(key), prefix="/v1")

    @app.get("/health")
    def health() -> str:
        return "OK"

    # lets a connector recognise made-up patients
    app.openapi()["info"]["x-bundled-api"] = True
    return app


def _cannot_be_stored(_: Request, __: Exception) -> JSONResponse:
    """Refuse values that JSON allows and SQLite cannot store: integers beyond 64 bits and lone surrogates."""
    return JSONResponse({"detail": "A value cannot be stored"}, status.HTTP_422_UNPROCESSABLE_CONTENT)


def _refuse(_: Request, error: RequestValidationError) -> JSONResponse:
    """Answer like FastAPI, without the values, since JSON cannot hold NaN."""
    detail = [{"type": each["type"], "loc": each["loc"], "msg": each["msg"]} for each in error.errors()]
    return JSONResponse({"detail": detail}, status.HTTP_422_UNPROCESSABLE_CONTENT)
