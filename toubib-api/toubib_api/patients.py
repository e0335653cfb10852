"""The operations on patients."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, HTTPException, status
from fastapi_sqla import PaginateSignature, Pagination, SessionDependency
from pydantic import BaseModel
from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from toubib_api.database import patients_table
from toubib_api.release import Release
from toubib_api.schemas import Problem, schemas

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])

_NOT_FOUND: dict[int | str, Any] = {404: {"model": Problem, "description": "No patient has this id"}}
_CONFLICT: dict[int | str, Any] = {409: {"model": Problem, "description": "Another patient has this email"}}


def _annotate(**types: type) -> Callable[[_Endpoint], _Endpoint]:
    """Annotate an endpoint's parameters with types that exist at run time only, for FastAPI to read."""

    def annotate(endpoint: _Endpoint) -> _Endpoint:
        endpoint.__annotations__.update(types)
        return endpoint

    return annotate


def _write(session: OrmSession, statement: ReturningInsert[Any] | ReturningUpdate[Any]) -> dict[str, RowMapping]:
    try:
        patient = session.execute(statement).mappings().one_or_none()
        # Not left to fastapi-sqla, which commits when the answer goes out: meanwhile this request would hold the
        # write lock of SQLite and wait for a thread, and the requests that wait for the lock hold the threads.
        session.commit()
    except IntegrityError:
        # Without its cause: only the email is unique, and the cause would add nothing but a patient's values.
        raise HTTPException(status.HTTP_409_CONFLICT, "Another patient has this email") from None
    return _found(patient)


def _found(patient: RowMapping | None) -> dict[str, RowMapping]:
    if patient is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No patient has this id")
    return {"data": patient}


def patients_router(release: Release, session_key: str) -> APIRouter:
    """Build the operations of a release.

    Args:
        release: The release.
        session_key: The key of fastapi-sqla's sessions on the database.
    """
    router = APIRouter(prefix="/patients", tags=["patients"])
    models = schemas(release)
    table = patients_table(release)
    shown = [table.c.id, *(table.c[column.name] for column in release.columns)]
    default_sort = models.sort_field("last_name" if "last_name" in release.sortable else release.sortable[0])
    Session = Annotated[OrmSession, Depends(SessionDependency(session_key))]  # noqa: N806 (a type)

    def query_count(session: Session) -> int:
        # SQLite counts the smallest index; fastapi-sqla's own count would read the sorted query.
        return session.scalar(select(func.count()).select_from(table)) or 0

    Paginate = Annotated[  # noqa: N806 (a type)
        PaginateSignature, Depends(Pagination(session_key, query_count=query_count))
    ]

    @router.get("", response_model=models.page)
    @_annotate(sort_field=models.sort_field)
    def list_patients(
        paginate: Paginate, sort_field: str = default_sort, sort_dir: Literal["asc", "desc"] = "asc"
    ) -> Any:
        column = table.c[sort_field]
        query = select(*shown).order_by(column.desc() if sort_dir == "desc" else column)
        return paginate(query, False)  # noqa: FBT003 (a callable type names no parameter)

    @router.post(
        "",
        response_model=models.one,
        status_code=status.HTTP_201_CREATED,
        responses=_CONFLICT,
    )
    @_annotate(patient=models.creation)
    def create_patient(session: Session, patient: BaseModel) -> Any:
        now = datetime.now(UTC)
        # Also what this release does not show, for the sake of the one that does.
        values = {"total_visits": 0, "created_at": now, "updated_at": now} | patient.model_dump()
        return _write(session, insert(table).values(values).returning(*shown))

    @router.get("/{patient_id}", response_model=models.one, responses=_NOT_FOUND)
    def read_patient(session: Session, patient_id: int) -> Any:
        return _found(session.execute(select(*shown).where(table.c.id == patient_id)).mappings().one_or_none())

    def change(session: Session, patient_id: int, values: dict[str, Any]) -> Any:
        values["updated_at"] = datetime.now(UTC)
        return _write(session, update(table).where(table.c.id == patient_id).values(values).returning(*shown))

    @router.put("/{patient_id}", response_model=models.one, responses=_NOT_FOUND | _CONFLICT)
    @_annotate(patient=models.creation)
    def replace_patient(session: Session, patient_id: int, patient: BaseModel) -> Any:
        return change(session, patient_id, patient.model_dump())

    @router.patch("/{patient_id}", response_model=models.one, responses=_NOT_FOUND | _CONFLICT)
    @_annotate(patient=models.update)
    def update_patient(session: Session, patient_id: int, patient: BaseModel) -> Any:
        return change(session, patient_id, patient.model_dump(exclude_unset=True))

    return router
