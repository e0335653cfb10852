"""The operations on patients."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, status
from fastapi_sqla import Item, Page, PaginateSignature, Pagination, SessionDependency
from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as OrmSession
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from toubib_api.database import patients_table
from toubib_api.schemas import Patient, PatientCreation, PatientUpdate, SortDirection, SortField


def patients_router(session_key: str) -> APIRouter:
    """Build the operations, on the database to which fastapi-sqla has sessions under a key."""
    router = APIRouter(prefix="/patients", tags=["patients"])
    Session = Annotated[OrmSession, Depends(SessionDependency(session_key))]  # noqa: N806 (a type)

    def query_count(session: Session) -> int:
        # SQLite counts the smallest index; fastapi-sqla's own count would read the sorted query
        return session.scalar(select(func.count()).select_from(patients_table)) or 0

    Paginate = Annotated[  # noqa: N806 (a type)
        PaginateSignature, Depends(Pagination(session_key, query_count=query_count))
    ]

    @router.get("", response_model=Page[Patient])
    def list_patients(
        paginate: Paginate, sort_field: SortField = SortField.LAST_NAME, sort_dir: SortDirection = SortDirection.ASC
    ) -> Any:
        column = patients_table.c[sort_field]
        query = select(patients_table).order_by(column.desc() if sort_dir == SortDirection.DESC else column)
        return paginate(query, False)  # noqa: FBT003 (a callable type names no parameter)

    @router.post("", response_model=Item[Patient], status_code=status.HTTP_201_CREATED)
    def create_patient(session: Session, patient: PatientCreation) -> Any:
        now = datetime.now(UTC)
        values = patient.model_dump() | {"created_at": now, "updated_at": now}
        return _write(session, insert(patients_table).values(values).returning(patients_table))

    @router.get("/{patient_id}", response_model=Item[Patient])
    def read_patient(session: Session, patient_id: int) -> Any:
        return _found(
            session.execute(select(patients_table).where(patients_table.c.id == patient_id)).mappings().one_or_none()
        )

    @router.put("/{patient_id}", response_model=Item[Patient])
    def replace_patient(session: Session, patient_id: int, patient: PatientCreation) -> Any:
        return _change(session, patient_id, patient.model_dump())

    @router.patch("/{patient_id}", response_model=Item[Patient])
    def update_patient(session: Session, patient_id: int, patient: PatientUpdate) -> Any:
        return _change(session, patient_id, {**patient})

    return router


def _change(session: OrmSession, patient_id: int, values: dict[str, Any]) -> Any:
    values["updated_at"] = datetime.now(UTC)
    return _write(
        session,
        update(patients_table).where(patients_table.c.id == patient_id).values(values).returning(patients_table),
    )


def _write(session: OrmSession, statement: ReturningInsert[Any] | ReturningUpdate[Any]) -> Any:
    try:
        patient = session.execute(statement).mappings().one_or_none()
        # fastapi-sqla would commit only when the answer is sent. Until then this request would hold SQLite's write lock
        # and wait for a thread, while requests that wait for the lock occupy all threads.
        session.commit()
    except IntegrityError as error:
        # only the email is unique
        raise HTTPException(status.HTTP_409_CONFLICT, "Another patient has this email") from error
    return _found(patient)


def _found(patient: RowMapping | None) -> Any:
    if patient is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No patient has this id")
    return {"data": patient}
