"""What lives as long as the application, and how a request reaches it."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Literal, overload
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.config import Settings
from user_management.database import AutobotSession, Database, SlmSession
from user_management.policy import Policy
from user_management.population import Population
from user_management.security.autobot_tokens import AutobotTokens, Claims
from user_management.security.cursors import CursorCodec
from user_management.security.devices import DEVICE_BYTES
from user_management.security.hashing import PasswordHasher
from user_management.security.refresh_tokens import RefreshTokenKeys
from user_management.security.seals import Seals
from user_management.security.tokens import (
    REALMS,
    SigningKey,
    TokenIssuer,
    TokenVerifier,
)
from user_management.services.login.grant import Grant
from user_management_web.browser import BrowserCookies

# Of the ids of a session and of its user.
SESSION_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What it takes to know a caller: whose tokens are taken, their keys, and the databases.

    Without `cookies` tokens come in the Authorization header only.
    """

    callers: Population
    databases: Mapping[Population, Database]
    verifier: TokenVerifier
    cookies: BrowserCookies | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What it takes to pass requests on to AutoBot's own service.

    `tokens` are those that it believes. Browsers keep `cookie` for `cookie_paths`: `seals` are over
    the session. Pages of `origins` may send it, besides those of the service's own.
    """

    tokens: AutobotTokens
    seals: Seals
    cookie: str
    cookie_paths: Sequence[str]
    origins: Collection[str]


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """An access token. It and the refresh token are good for so many seconds."""

    token: str
    expires_in: int
    refresh_expires_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources(Verification):
    """What it takes besides to let people in and to manage them.

    `request_keys` are secret: of a hash that was made with one nobody can guess the request. The
    first is used; during a rotation the other one was or will be. `device_cookie` is what browsers
    keep to be known again. Without `gateway` nothing is passed on.
    """

    hasher: PasswordHasher
    issuer: TokenIssuer
    refresh_tokens: RefreshTokenKeys
    cursors: CursorCodec
    request_keys: Sequence[bytes]
    devices: Seals
    device_cookie: str
    policy: Policy
    gateway: Gateway | None

    @overload
    def session(
        self, population: Literal[Population.SLM], org_id: UUID | None = None
    ) -> AbstractAsyncContextManager[SlmSession]: ...

    @overload
    def session(
        self, population: Literal[Population.AUTOBOT], org_id: UUID | None = None
    ) -> AbstractAsyncContextManager[AutobotSession]: ...

    @overload
    def session(
        self, population: Population, org_id: UUID | None = None
    ) -> AbstractAsyncContextManager[AsyncSession]: ...

    def session(
        self, population: Population, org_id: UUID | None = None
    ) -> AbstractAsyncContextManager[AsyncSession]:
        """A session of that population's database, typed as such: see Database.session."""
        return self.databases[population].session(org_id)

    def issue(
        self, grant: Grant, *, subject: str, claims: Claims, is_lasting: bool = False
    ) -> IssuedToken:
        """An access token for what a login or a refresh gave.

        One that `is_lasting` is for clients that do not refresh: behind a gateway, where use
        prolongs the session, it lasts as long as any session may.
        """
        lifetime, session_left = self.issuer.lifetime, grant.expires_at - grant.granted_at
        if is_lasting and self.gateway is not None:
            expires_in = lifetime = self.policy.session_absolute
        else:
            # A token is worth nothing once its session has ended.
            expires_in = min(lifetime, session_left)
        token = self.issuer.issue(
            subject=subject,
            user_id=grant.user_id,
            session_id=grant.session_id,
            claims=claims,
            issued_at=grant.granted_at,
            lifetime=lifetime,
        )
        return IssuedToken(
            token, int(expires_in.total_seconds()), int(session_left.total_seconds())
        )


@asynccontextmanager
async def open_resources(
    settings: Settings,
    *,
    callers: Population,
    populations: Iterable[Population],
    cookies: BrowserCookies | None,
) -> AsyncIterator[Resources]:
    """Resources for an application that lets `callers` in, by `cookies` too where it has some, and
    works with `populations`.

    No database need be up. Raises ConfigurationError when a setting is missing or wrong.
    """
    keys, realm = settings.signing_keys(callers), REALMS[callers]
    lifetime = timedelta(minutes=settings.access_token_expire_minutes)
    resources = Resources(
        callers=callers,
        databases={
            population: Database(population, settings.database(population))
            for population in populations
        },
        verifier=TokenVerifier(keys, realm),
        cookies=cookies,
        hasher=PasswordHasher(settings.bcrypt_cost, settings.hash_threads),
        issuer=TokenIssuer(keys[0], realm, lifetime=lifetime),
        refresh_tokens=RefreshTokenKeys([key.derive("refresh tokens") for key in keys]),
        cursors=CursorCodec(*(key.derive("cursors of lists") for key in keys)),
        request_keys=[key.derive("requests with an Idempotency-Key") for key in keys],
        devices=Seals([key.derive("browsers of logins") for key in keys], DEVICE_BYTES),
        device_cookie=f"__Host-{callers}-device",
        policy=settings.policy,
        gateway=_gateway(settings, keys, callers),
    )
    try:
        yield resources
    finally:
        resources.hasher.close()
        for database in resources.databases.values():
            await database.dispose()


def _gateway(settings: Settings, keys: Sequence[SigningKey], callers: Population) -> Gateway | None:
    secret = settings.gateway_secret
    if secret is None:
        return None
    return Gateway(
        tokens=AutobotTokens(secret.get_secret_value()),
        seals=Seals([key.derive("sessions behind the gateway") for key in keys], SESSION_BYTES),
        cookie=f"__Secure-{callers}-gateway",
        cookie_paths=settings.gateway_cookie_paths,
        origins=settings.frontend_origins,
    )


def get_verification_of(request: Request) -> Verification:
    """What the application's lifespan made, as far as every application has it."""
    verification: Verification = request.app.state.resources
    return verification


async def get_resources(request: Request) -> Resources:
    """The resources that the application's lifespan made, as a dependency."""
    resources: Resources = request.app.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]
