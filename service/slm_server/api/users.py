"""The routes for users, one set for each population."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from user_management.middleware.caller import AdministratorDep, OriginDep, context_of
from user_management.middleware.problems import problem_responses
from user_management.middleware.resources import ResourcesDep
from user_management.population import Population
from user_management.schemas.fields import TEXT_LENGTH, TEXT_PATTERN
from user_management.schemas.users import UserCreate, UserListResponse, UserResponse, UserUpdate
from user_management.services import UserService

# PostgreSQL counts rows in 64 bits; nobody turns pages for that long.
_MAX_SKIP = 1_000_000_000

_BODY = ("bad_request", "body_too_large", "unsupported_media_type", "validation_error")


def create_router(population: Population) -> APIRouter:
    """The five routes under `/<population>-users`, for fleet administrators."""

    async def get_service(
        resources: ResourcesDep, origin: OriginDep, administrator: AdministratorDep
    ) -> AsyncIterator[UserService]:
        async with resources.session(population) as session:
            yield UserService(session, context_of(origin, administrator), resources.hasher)

    # The commit comes before the response: with scope="function" a failed one still shows in it.
    service_dep = Depends(get_service, scope="function")

    router = APIRouter(
        prefix=f"/{population}-users",
        tags=[f"{population} users"],
        responses=problem_responses(
            "not_authenticated",
            "permission_denied",
            "password_change_required",
            "validation_error",
            "internal_error",
            "database_unavailable",
        ),
    )

    @router.post(
        "",
        operation_id=f"create_{population}_user",
        status_code=201,
        responses={
            201: {
                "headers": {
                    "Location": {
                        "required": True,
                        "description": "The address of the new user.",
                        "schema": {"type": "string"},
                    }
                }
            },
            **problem_responses(
                *_BODY, "password_refused", "duplicate", "database_unavailable", "hash_queue_full"
            ),
        },
    )
    async def create_user(
        body: UserCreate,
        request: Request,
        response: Response,
        service: Annotated[UserService, service_dep],
    ) -> UserResponse:
        """Create a user."""
        user = await service.create(body)
        response.headers["Location"] = f"{request.url.path}/{user.id}"
        return UserResponse.of(user)

    @router.get("", operation_id=f"list_{population}_users")
    async def list_users(
        service: Annotated[UserService, service_dep],
        skip: Annotated[int, Query(ge=0, le=_MAX_SKIP)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        search: Annotated[
            str | None,
            Query(
                max_length=TEXT_LENGTH,
                pattern=TEXT_PATTERN,
                description="A part of the user name, e-mail address or display name.",
            ),
        ] = None,
    ) -> UserListResponse:
        """List users, newest first. Deleted ones are not shown, disabled ones are."""
        page = await service.list(limit=limit, offset=skip, search=search)
        return UserListResponse(
            users=[UserResponse.of(user) for user in page.users],
            total=page.total,
            limit=limit,
            offset=skip,
        )

    @router.get(
        "/{user_id}",
        operation_id=f"get_{population}_user",
        responses=problem_responses("not_found"),
    )
    async def get_user(user_id: UUID, service: Annotated[UserService, service_dep]) -> UserResponse:
        """Read one user."""
        return UserResponse.of(await service.get(user_id))

    @router.patch(
        "/{user_id}",
        operation_id=f"update_{population}_user",
        responses=problem_responses(*_BODY, "not_found", "duplicate", "last_administrator"),
    )
    async def update_user(
        user_id: UUID, body: UserUpdate, service: Annotated[UserService, service_dep]
    ) -> UserResponse:
        """Change the fields that are given. Disabling a user ends their sessions."""
        return UserResponse.of(await service.update(user_id, body))

    @router.delete(
        "/{user_id}",
        operation_id=f"delete_{population}_user",
        status_code=204,
        responses=problem_responses("not_found", "last_administrator"),
    )
    async def delete_user(user_id: UUID, service: Annotated[UserService, service_dep]) -> None:
        """Delete a user softly and end their sessions. The names stay taken."""
        await service.delete(user_id)

    return router
