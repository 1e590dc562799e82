"""Idempotency-Key: a request that creates something can be repeated without creating it twice."""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Protocol, TypeVar
from uuid import UUID

from fastapi import Depends, Header, Request
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import (
    Duplicate,
    IdempotencyKeyReused,
    PermissionDenied,
    QuotaExceeded,
)
from user_management.models import IdempotencyRecord
from user_management.permissions import Permission
from user_management.schemas.fields import VISIBLE_PATTERN
from user_management.services.login.caller import AuthenticatedUser
from user_management_web.caller import CurrentUserDep
from user_management_web.resources import ResourcesDep


class Created(Protocol):
    """What a creation gives."""

    @property
    def id(self) -> UUID: ...


T = TypeVar("T", bound=Created)


class Once:
    """Creates once per key and caller. Without a key each request creates.

    The first of `request_hashes` is kept; any of them tells the same request again.
    """

    def __init__(
        self, caller: AuthenticatedUser, key: str | None, request_hashes: Sequence[bytes]
    ) -> None:
        self._caller_id = caller.user_id
        self._authority = caller.authority
        self._key = key
        self._request_hashes = request_hashes

    async def create(
        self,
        session: AsyncSession,
        make: Callable[[], Awaitable[T]],
        read: Callable[[UUID], Awaitable[T]],
        reading: Permission,
    ) -> T:
        """What `make` creates, or `read` of what an earlier request with this key created.

        That is as it is now, and no longer what the caller has made: it takes the permission that
        `reading` it takes elsewhere. The key is kept in the transaction of the creation. Raises
        IdempotencyKeyReused, PermissionDenied, and what `make` and `read` raise.
        """
        if self._key is None:
            return await make()
        if (known := await self._created(session)) is not None:
            self._check(reading)
            return await read(known)
        try:
            made = await make()
            await self._remember(session, made.id)
        except (Duplicate, QuotaExceeded, IntegrityError):
            # Perhaps the same request, at the same time, was first.
            await session.rollback()
            if (known := await self._created(session)) is None:
                raise
            self._check(reading)
            return await read(known)
        return made

    def _check(self, reading: Permission) -> None:
        if not self._authority.holds(frozenset({reading})):
            raise PermissionDenied(
                "A request with this Idempotency-Key has done it already. To see what has become "
                f"of it needs the permission {reading}."
            )

    async def _created(self, session: AsyncSession) -> UUID | None:
        found = await session.execute(
            select(IdempotencyRecord.resource_id, IdempotencyRecord.request_hash).where(
                IdempotencyRecord.caller_id == self._caller_id, IdempotencyRecord.key == self._key
            )
        )
        record = found.one_or_none()
        if record is None:
            return None
        if record.request_hash not in self._request_hashes:
            raise IdempotencyKeyReused
        resource_id: UUID = record.resource_id
        return resource_id

    async def _remember(self, session: AsyncSession, resource_id: UUID) -> None:
        await session.execute(
            insert(IdempotencyRecord).values(
                caller_id=self._caller_id,
                key=self._key,
                request_hash=self._request_hashes[0],
                resource_id=resource_id,
                created_at=datetime.now(UTC),
            )
        )


async def get_once(
    request: Request,
    user: CurrentUserDep,
    resources: ResourcesDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="A word of your choice for this request. Repeated within a day with the "
            "same body, the request answers with what the first one created, as it is then; that "
            "takes the permission to read it.",
            min_length=1,
            max_length=255,
            pattern=VISIBLE_PATTERN,
        ),
    ] = None,
) -> Once:
    """What the request's key stands for: its method, address and body."""
    # The body may hold a password, which a plain hash would let a reader of the database guess.
    content = f"{request.method} {request.url.path}\n".encode() + await request.body()
    hashes = [hmac.digest(key, content, "sha256") for key in resources.request_keys]
    return Once(user, idempotency_key, hashes)


OnceDep = Annotated[Once, Depends(get_once)]
