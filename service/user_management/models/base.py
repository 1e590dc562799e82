"""What all tables share: metadata, column types, time stamps."""

import uuid
from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import DateTime, Dialect, MetaData, String, Text, TypeDecorator, func, text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """timestamptz, in UTC. Refuses a naive datetime: the driver would take it as local time."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is not None and value.tzinfo is None:
            raise ValueError("A naive datetime has no place in time: use datetime.now(UTC).")
        return value


Str45 = Annotated[str, mapped_column(String(45))]
Str50 = Annotated[str, mapped_column(String(50))]
Str100 = Annotated[str, mapped_column(String(100))]
Str255 = Annotated[str, mapped_column(String(255))]
Str500 = Annotated[str, mapped_column(String(500))]
Str2000 = Annotated[str, mapped_column(String(2000))]
LongText = Annotated[str, mapped_column(Text)]
JsonObject = dict[str, Any]


class Base(DeclarativeBase):
    """One metadata for both databases: they have the same shape."""

    metadata = MetaData()
    type_annotation_map = {  # noqa: RUF012
        datetime: UtcDateTime,
        uuid.UUID: UUID(as_uuid=True),
        JsonObject: JSONB,
    }
    # Read back what the server set (updated_at), also after an UPDATE: async code cannot lazy-load.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012


# Each default exists twice: for the ORM, which then knows the value, and for plain SQL.
PrimaryKey = Annotated[
    uuid.UUID,
    mapped_column(primary_key=True, default=uuid.uuid4, server_default=text("gen_random_uuid()")),
]
TrueFlag = Annotated[bool, mapped_column(default=True, server_default=text("true"))]
FalseFlag = Annotated[bool, mapped_column(default=False, server_default=text("false"))]
Counter = Annotated[int, mapped_column(default=0, server_default=text("0"))]
JsonSettings = Annotated[
    JsonObject, mapped_column(JSONB, default=dict, server_default=text("'{}'::jsonb"))
]
Now = Annotated[datetime, mapped_column(UtcDateTime, server_default=func.now())]


class TimestampMixin:
    """When the row was made and last changed, by the server's clock."""

    created_at: Mapped[Now]
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, server_default=func.now(), onupdate=func.now()
    )
