"""The routes that import and export users, one set for each population."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from slm_server.api.dependencies import CALLER, CONFIRMED, RECENTLY
from slm_server.api.downloads import DownloadDep, as_download
from slm_server.api.users import get_filter
from slm_server.imports.process import import_report
from slm_server.imports.upload import spool
from slm_server.imports.worker import Job
from user_management.models import AuditAction, AuditResourceType
from user_management.permissions import Permission
from user_management.population import Population
from user_management.services import AuditService
from user_management.services.login.caller import AuthenticatedUser
from user_management.services.user_search import UserFilter
from user_management.transfer.exporter import exported
from user_management.transfer.sources import SourceKind
from user_management_web.asgi import Body
from user_management_web.caller import OriginDep, context_of
from user_management_web.problems import problem_responses
from user_management_web.rbac import require_permission, require_platform_administrator
from user_management_web.resources import ResourcesDep

_FILE: Final = Body(
    64 * 1024,
    ("text/csv", "application/x-ndjson", "application/json", "application/octet-stream"),
)
# By path.
FILES: Final[Mapping[str, Body]] = {
    f"/api/{population}-users/import": _FILE for population in Population
}


class _OwnAddress(APIRoute):
    """A route at whose address no user is: other methods are not allowed there."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        return (Match.FULL if match is Match.PARTIAL else match), child


class ImportFormat(StrEnum):
    """What the file is."""

    CSV = "csv"
    NDJSON = "ndjson"
    CONFIG = "config"


_ROWS: Final = "username,email,password_hash,roles\nmarta,marta@autobot.local,,readonly;user\n"
_REPORT: Final = (
    '{"resource": "user", "place": "line 2", "name": "marta", "outcome": "created", '
    '"reason": null, "rows": 1}\n'
    '{"summary": {"population": "autobot", "source": "csv", "applied": false, "lines": {"total": '
    '2, "header": 1, "empty": 0, "rows": 1, "lost": 0}, "counts": {"user": {"created": 1, '
    '"merged": 0, "unchanged": 0, "skipped": 0, "invalid": 0}}, "over_quota": []}}\n'
)
_UPLOAD: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The file itself, up to 64 MiB.",
        "content": {
            media_type: {
                "schema": {"type": "string", "format": "binary", "minLength": 1},
                **({"example": _ROWS} if media_type == "text/csv" else {}),
            }
            for media_type in _FILE.media_types
        },
    }
}


def create_router(population: Population) -> APIRouter:
    """The routes `/<population>-users/import` and `/export`, for fleet administrators."""

    imports = require_platform_administrator(Permission.ADMIN_USERS, population=population)
    reads = require_permission(Permission.USERS_READ, population=population)

    router = APIRouter(
        prefix=f"/{population}-users",
        route_class=_OwnAddress,
        tags=[f"{population} users"],
        responses=problem_responses(*CALLER, "validation_error"),
    )

    @router.post(
        "/import",
        operation_id=f"import_{population}_users",
        response_class=StreamingResponse,
        openapi_extra=_UPLOAD,
        responses={
            200: {
                "description": "What becomes of each row, a line each. The last line is "
                "`summary`, or `problem` when the import broke off.",
                "content": {
                    "application/x-ndjson": {"schema": {"type": "string"}, "example": _REPORT}
                },
            },
            **CONFIRMED,
            **problem_responses(
                *("bad_request", "body_too_large", "unsupported_media_type"),
                *("import_running", "validation_error", "unusable_file"),
                *("database_unavailable", "storage_full"),
            ),
        },
    )
    async def import_users(
        request: Request,
        origin: OriginDep,
        user: Annotated[AuthenticatedUser, Depends(imports)],
        form: Annotated[ImportFormat, Query(alias="format", description="What the file is.")],
        apply: Annotated[
            bool, Query(description="Do it. Without this, only tell what would be done.")
        ] = False,
    ) -> Response:
        """Import users from a file, with the hashes of their passwords.

        Whoever is here already, by id, username or e-mail address, keeps what they have and gets
        what they lack. What is written when it breaks off stays; repeating it goes on.
        """
        if apply:
            user.check_recently_authenticated()
        settings = request.app.state.settings.database(population)
        with await spool(request) as file:
            job = Job(
                population=population,
                database=settings,
                kind=SourceKind(form),
                file=file.fileno(),
                apply=apply,
                context=context_of(origin, user),
            )
            return await import_report(request, job)

    @router.get(
        "/export",
        operation_id=f"export_{population}_users",
        # What the user is asked besides comes first.
        dependencies=[Depends(reads), RECENTLY],
        response_class=StreamingResponse,
        responses={
            **CONFIRMED,
            200: {
                "description": "All users who meet what is given, oldest first, as an import "
                "reads them.",
                "content": {
                    "text/csv": {"schema": {"type": "string"}, "example": _ROWS},
                    "application/x-ndjson": {"schema": {"type": "string"}},
                },
            },
        },
    )
    async def export_users(
        resources: ResourcesDep,
        origin: OriginDep,
        user: Annotated[AuthenticatedUser, Depends(reads)],
        wanted: Annotated[UserFilter, Depends(get_filter)],
        download: DownloadDep,
    ) -> StreamingResponse:
        """Download users, without the hashes of their passwords; filters are those of the list.

        In CSV, what a spreadsheet would run has an apostrophe in front. The download itself is an
        event.
        """
        context = context_of(origin, user)
        scope = context.authority.scope
        async with resources.session(population, scope) as session:
            await AuditService(session, context).record_export(
                AuditAction.USERS_EXPORTED, AuditResourceType.USER, download.form, wanted.given()
            )
        pieces = exported(
            lambda: resources.session(population, scope),
            download.form,
            wanted,
            with_hashes=False,
            excel=download.excel,
        )
        return await as_download(pieces, f"users-{population}", download)

    return router
