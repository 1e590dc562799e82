"""`slm doctor`: is everything as the service needs it, and what is to be done if not.

`_checks` is the list of all checks, in the order in which they are shown.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from sqlalchemy import text

from slm_server.cli.check_result import Check, failed, ok, warning
from slm_server.cli.common import connected
from slm_server.cli.output import FormatOption, JsonOption, WideOption, show
from slm_server.cli.takeover import check_takeover
from user_management.config import Settings, load_settings
from user_management.database import EXPECTED_REVISION, Schema, read_schema
from user_management.errors import ConfigurationError, DatabaseUnavailable, reason
from user_management.population import Population
from user_management.security.tokens import SigningKey
from user_management.services.administrators import AdministratorService, AdministratorState
from user_management.services.audit_chain import TOLERANCE, count_overdue
from user_management.transfer.doubtful import count_shared_names

HTTPS: Final = ("127.0.0.1", 443)
HTTPS_NAME: Final = "localhost"
CLOCK_TOLERANCE: Final = timedelta(seconds=2)
CERTIFICATE_WARNING: Final = timedelta(days=14)

TakeoverOption = Annotated[
    bool,
    typer.Option("--takeover", help="Instead: does anything still use what AutoBot had before?"),
]


def examine(
    form: FormatOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
    takeover: TakeoverOption = False,
) -> None:
    """Check configuration, databases, certificates and clock, and say what to do.

    Ends with status 1 when something failed; warnings alone do not.
    """
    checks = asyncio.run(_checks(takeover=takeover))
    show(checks, ("check", "state", "found", "advice"), form, as_json=as_json, wide=wide)
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(1)


async def _checks(*, takeover: bool) -> list[Check]:
    try:
        settings = load_settings()
    except ConfigurationError as error:
        return [failed("configuration", "not usable", str(error))]
    look = check_takeover if takeover else _check_database
    found = [check for each in Population async for check in look(settings, each)]
    if takeover:
        return found
    checks = [ok("configuration", "complete"), *_check_keys(settings), *found]
    checks += _check_ssh(os.environ.get("HOST_SSH_PASSWORDS"))
    checks.append(await asyncio.to_thread(_check_https, settings.slm_postgres_sslrootcert))
    return checks


def _check_keys(settings: Settings) -> Iterator[Check]:
    secret = settings.slm_signing_key
    try:
        if secret is None:
            raise ConfigurationError("Set SLM_SIGNING_KEY, or deploy again: it makes the key.")
        key = SigningKey.from_pem(secret.get_secret_value(), variable="SLM_SIGNING_KEY")
    except ConfigurationError as error:
        yield failed("signing key", "not usable", str(error))
        return
    yield ok("signing key", f"kid {key.kid}")


async def _check_database(settings: Settings, population: Population) -> AsyncIterator[Check]:
    name = f"{population} database"
    try:
        async with connected(settings, population) as connection:
            session = connection.session
            facts = await session.execute(
                text(
                    "SELECT current_database() AS database, version() AS version,"
                    " clock_timestamp() AS clock, (SELECT ssl FROM pg_stat_ssl"
                    " WHERE pid = pg_backend_pid()) AS tls"
                )
            )
            row = facts.one()
            yield ok(name, f"{row.database}, {' '.join(row.version.split()[:2])}")
            yield _check_tls(settings, population, row.tls)
            yield _check_clock(population, row.clock)
            schema = await read_schema(session)
            yield _check_schema(population, schema)
            if not schema.fits:
                return
            administrators = AdministratorService(session, connection.context, connection.hasher)
            yield _check_administrators(population, (await administrators.status()).state)
            yield _check_names(population, await count_shared_names(session))
            yield _check_seals(population, await count_overdue(session))
    except ConfigurationError as error:
        yield failed(name, "not configured", str(error))
    except DatabaseUnavailable:
        yield failed(
            name,
            "does not answer",
            "See that PostgreSQL runs on its host and that the firewall lets this host pass; "
            "`ansible-playbook site.yml` mends both and proves it.",
        )


def _check_tls(settings: Settings, population: Population, tls: bool | None) -> Check:
    name = f"{population} encryption"
    if settings.database(population).is_unix_socket:
        return ok(name, "unix socket")
    if tls:
        return ok(name, "TLS, name verified")
    return failed(name, "plain", "Deploy again: the service connects by TLS only.")


def _check_clock(population: Population, clock: datetime) -> Check:
    name = f"{population} clock"
    difference = abs(datetime.now(UTC) - clock)
    found = f"{difference.total_seconds():.1f} s apart"
    if difference <= CLOCK_TOLERANCE:
        return ok(name, found)
    return failed(
        name, found, "Let both hosts keep network time (timedatectl): sessions end by the clock."
    )


def _check_schema(population: Population, schema: Schema) -> Check:
    name = f"{population} schema"
    if schema.revision == EXPECTED_REVISION:
        return ok(name, f"revision {schema.revision}")
    if schema.fits:
        return ok(name, f"revision {schema.revision}, which suits {EXPECTED_REVISION} too")
    return failed(
        name,
        f"revision {schema.revision or 'none'}, not {EXPECTED_REVISION}",
        "Deploy again: it migrates the databases before it switches the release.",
    )


def _check_administrators(population: Population, state: AdministratorState) -> Check:
    name = f"{population} administrators"
    if state is AdministratorState.ESTABLISHED:
        return ok(name, state)
    return warning(
        name,
        state,
        "Log in with the one-time password and change it."
        if state is AdministratorState.UNUSED
        else f"slm admin create --population {population} --username … --email …",
    )


def _check_names(population: Population, shared: int) -> Check:
    name = f"{population} names"
    if not shared:
        return ok(name, "each is one user's")
    return warning(
        name,
        f"{shared} users with a name or address that is, or looks like, another's",
        f"slm users check --population {population} names them: give them other names.",
    )


def _check_seals(population: Population, unsealed: int) -> Check:
    name = f"{population} audit log"
    if not unsealed:
        return ok(name, "sealed")
    return failed(
        name,
        f"{unsealed} rows without a seal after {TOLERANCE.seconds // 60} minutes",
        "See that the service runs and what it says (journalctl --unit autobot-slm-users), then "
        "run `slm audit verify`.",
    )


def _check_ssh(passwords: str | None) -> Iterator[Check]:
    """What the command has asked sshd, if it is the one of a deployed host."""
    name = "SSH of this host"
    match passwords:
        case "refused":
            yield ok(name, "takes keys, no passwords")
        case "accepted":
            yield warning(
                name,
                "takes passwords too",
                "Set site_ssh_logins: keys_only and deploy again, unless somebody has to "
                "log in with one, as AutoBot's fleet manager does.",
            )
        case "unknown":
            yield warning(
                name,
                "sshd does not say whether it takes passwords",
                "Run as root: /usr/sbin/sshd -T",
            )


def _check_https(ca: Path | None) -> Check:
    """The certificate that clients get to see, as a client would look at it."""
    name = "HTTPS certificate"
    try:
        context = ssl.create_default_context(cafile=ca)
        with (
            socket.create_connection(HTTPS, timeout=2) as plain,
            context.wrap_socket(plain, server_hostname=HTTPS_NAME) as tls,
        ):
            certificate = tls.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return failed(name, error.verify_message, "Deploy again: it renews certificates.")
    except OSError as error:
        return failed(
            name,
            f"no answer on port {HTTPS[1]}: {error.strerror or reason(error)}",
            "See that nginx runs: systemctl status nginx.",
        )
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    found = f"until {ends:%Y-%m-%d}"
    if ends - datetime.now(UTC) > CERTIFICATE_WARNING:
        return ok(name, found)
    return warning(name, found, "Deploy again: it renews certificates.")
