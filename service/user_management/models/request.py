"""What the service remembers of requests: failures that slow down, and keys of creations."""

import uuid
from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from user_management.models.base import Base, Counter, Now, Str255


class RateLimit(Base):
    """Failures that count together: those of an address, of an account, of both, or of all.

    `key` is a hash, so that nobody can read here what people type as their name.
    """

    __tablename__ = "rate_limits"
    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012

    scope: Mapped[str] = mapped_column(String(20), primary_key=True)
    key: Mapped[bytes] = mapped_column(primary_key=True)
    failures: Mapped[Counter]
    window_started_at: Mapped[Now]
    blocked_until: Mapped[datetime | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class IdempotencyRecord(Base):
    """What a caller's Idempotency-Key created."""

    __tablename__ = "idempotency_records"

    caller_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    key: Mapped[Str255] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes]
    resource_id: Mapped[uuid.UUID]
    created_at: Mapped[Now] = mapped_column(index=True)
