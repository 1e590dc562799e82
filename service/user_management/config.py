"""Configuration of the service: environment variables, or files in $CREDENTIALS_DIRECTORY.

A file is named like the variable in lower case (systemd's LoadCredential), a variable wins over
a file. Each database is described by a URL or by components; the URL wins over the components.
"""

import os
import re
import ssl
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from user_management.errors import ConfigurationError, reason
from user_management.policy import Policy
from user_management.population import Population
from user_management.security.hashing import MAX_COST, MIN_COST
from user_management.security.tokens import SigningKey, VerificationKey

DEFAULT_PORT = 5432
_COMPONENTS = ("host", "port", "db", "user", "password", "other_password", "sslrootcert")


class TargetSessionAttributes(StrEnum):
    """Which of several hosts will do, as in libpq; the services write, so no standby will."""

    ANY = "any"
    PRIMARY = "primary"
    READ_WRITE = "read-write"


def _words(value: object) -> object:
    """Turn a comma list into a tuple of its words."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(","))
    return value


def _numbers(value: object) -> object:
    return (value,) if isinstance(value, int) else _words(value)


class DatabaseSettings(BaseModel):
    """Where a database is and who connects.

    `hosts` are names or addresses, or one absolute path: the directory of a unix socket.
    TCP is always TLS with the host name verified, against `sslrootcert` or the system's trust.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    hosts: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_words)] = (
        Field(min_length=1)
    )
    ports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65535)], ...], BeforeValidator(_numbers)
    ] = (DEFAULT_PORT,)
    database: Annotated[str, Field(min_length=1)]
    user: Annotated[str, Field(min_length=1)]
    password: Annotated[SecretStr, Field(min_length=1)]
    # While the password is rotated: the next one, or the one before.
    other_password: Annotated[SecretStr, Field(min_length=1)] | None = None
    sslrootcert: Path | None = None
    target_session_attrs: TargetSessionAttributes = TargetSessionAttributes.ANY

    @model_validator(mode="after")
    def _hosts_fit_together(self) -> "DatabaseSettings":
        if len(self.ports) not in (1, len(self.hosts)):
            raise ValueError(
                f"{len(self.ports)} ports for {len(self.hosts)} hosts: give one port, "
                "or one for each host"
            )
        if len(self.hosts) > 1 and any(host.startswith("/") for host in self.hosts):
            raise ValueError("a unix socket directory must be the only host")
        return self

    @property
    def is_unix_socket(self) -> bool:
        return self.hosts[0].startswith("/")

    @property
    def passwords(self) -> list[str]:
        """The password, then the other one where there is one."""
        given = (self.password, self.other_password)
        return list(dict.fromkeys(secret.get_secret_value() for secret in given if secret))

    def connect_arguments(self) -> dict[str, Any]:
        """Keyword arguments for `asyncpg.connect`.

        Raises ConfigurationError when the CA file cannot be used.
        """
        ports = self.ports * len(self.hosts) if len(self.ports) == 1 else self.ports
        return {
            "host": list(self.hosts),
            "port": list(ports),
            "database": self.database,
            "user": self.user,
            "password": self.password.get_secret_value(),
            "ssl": False if self.is_unix_socket else self._tls_context(),
            "target_session_attrs": self.target_session_attrs.value,
        }

    def _tls_context(self) -> ssl.SSLContext:
        try:
            # Without a file: the system's trust. Host names are verified either way.
            context = ssl.create_default_context(cafile=self.sslrootcert)
        except OSError as error:
            raise ConfigurationError(
                f"The CA file {self.sslrootcert} cannot be used ({reason(error)}). "
                "Point SSLROOTCERT at the PEM file of the CA that signed the database's "
                "certificate."
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _from_url(url: str) -> dict[str, Any]:
    """Split a database URL into the fields of DatabaseSettings. Raises ValueError."""
    # Of several hosts, Python refuses an IPv6 address behind the first.
    scheme, slashes, rest = url.partition("://")
    netloc = re.split("[/?#]", rest, maxsplit=1)[0]
    parts = urlsplit(f"{scheme}{slashes}{rest.removeprefix(netloc)}")
    if parts.scheme not in ("postgresql", "postgresql+asyncpg"):
        raise ValueError("it must begin with postgresql:// or postgresql+asyncpg://")
    userinfo, _, location = netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    fields: dict[str, Any] = {"database": unquote(parts.path.removeprefix("/"))}
    if user:
        fields["user"] = unquote(user)
    if colon:
        fields["password"] = unquote(password)
    if location:
        pairs = [_host_and_port(item) for item in location.split(",")]
        fields["hosts"] = tuple(host for host, _ in pairs)
        fields["ports"] = tuple(port or DEFAULT_PORT for _, port in pairs)
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        match name:
            case "host":
                fields["hosts"] = value
            case "port":
                fields["ports"] = value
            case "sslrootcert" | "target_session_attrs" | "user" | "password":
                fields[name] = value
            case "sslmode" | "ssl" if value == "verify-full":
                pass
            case "sslmode" | "ssl":
                raise ValueError(f"{name} can only be verify-full; leave it out")
            case _:
                raise ValueError(
                    f"unknown option {name!r}; known are host, port, sslrootcert, "
                    "target_session_attrs"
                )
    return fields


def _host_and_port(item: str) -> tuple[str, str]:
    """Split `host`, `host:port`, `[v6]` or `[v6]:port`; a host may be percent-encoded."""
    if item.startswith("["):
        host, _, rest = item[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = item.partition(":")
    return unquote(host), port


# As browsers write them.
_Origin = Annotated[str, Field(pattern=r"^https?://[a-z0-9.-]+(:[0-9]+)?$")]
_Path = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*$")]
# A limit that is never reached is the way to switch one off.
_Failures = Annotated[int, Field(ge=1, le=1_000_000)]


def _default_threads() -> int:
    return len(os.sched_getaffinity(0))


class Settings(BaseSettings):
    """Everything the service reads from its environment. Obtain it from `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    slm_users_database_url: SecretStr | None = None
    slm_postgres_host: str | None = "127.0.0.1"
    slm_postgres_port: str = str(DEFAULT_PORT)
    slm_postgres_db: str = "slm_users"
    slm_postgres_user: str = "slm_admin"
    slm_postgres_password: SecretStr | None = None
    slm_postgres_other_password: SecretStr | None = None
    slm_postgres_sslrootcert: Path | None = None

    autobot_users_database_url: SecretStr | None = None
    autobot_postgres_host: str | None = None
    autobot_postgres_port: str = str(DEFAULT_PORT)
    autobot_postgres_db: str = "autobot_users"
    autobot_postgres_user: str = "autobot_user_admin"
    autobot_postgres_password: SecretStr | None = None
    autobot_postgres_other_password: SecretStr | None = None
    autobot_postgres_sslrootcert: Path | None = None

    # Of a database whose users are imported.
    source_database_password: SecretStr | None = None

    access_token_expire_minutes: Annotated[int, Field(ge=1, le=24 * 60)] = 30
    slm_signing_key: SecretStr | None = None
    slm_previous_signing_key: SecretStr | None = None
    autobot_signing_key: SecretStr | None = None
    autobot_previous_signing_key: SecretStr | None = None
    # For programs that verify tokens of application users and issue none.
    autobot_public_keys_file: Path | None = None
    # Web pages of these may call the AutoBot backend from a browser.
    frontend_origins: Annotated[tuple[_Origin, ...], NoDecode, BeforeValidator(_words)] = ()

    # With the secret that AutoBot signs its tokens with, the service is a gateway to AutoBot's own;
    # browsers prove on these paths by a cookie whose a request is.
    gateway_secret: Annotated[SecretStr, Field(min_length=1)] | None = None
    gateway_cookie_paths: Annotated[tuple[_Path, ...], NoDecode, BeforeValidator(_words)] = ()

    bcrypt_cost: Annotated[int, Field(ge=MIN_COST, le=MAX_COST)] = 12
    hash_threads: Annotated[int, Field(ge=1, le=256)] = Field(default_factory=_default_threads)

    session_absolute_hours: Annotated[int, Field(ge=1, le=30 * 24)] = 12
    session_idle_minutes: Annotated[int, Field(ge=1, le=30 * 24 * 60)] = 60
    password_history: Annotated[int, Field(ge=0, le=24)] = 5
    # Then what is known of them is erased.
    deleted_users_kept_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    login_failures_per_pair: _Failures = 5
    login_failures_per_account: _Failures = 100
    login_failures_per_address: _Failures = 100
    login_failures_global: _Failures = 2000

    @field_validator("session_idle_minutes")
    @classmethod
    def _outlasts_the_token(cls, minutes: int, info: ValidationInfo) -> int:
        lifetime = info.data.get("access_token_expire_minutes", 0)
        if minutes < lifetime:
            raise ValueError(f"at least ACCESS_TOKEN_EXPIRE_MINUTES, which is {lifetime}")
        return minutes

    def signing_keys(self, population: Population) -> list[SigningKey]:
        """The key that signs, then the other one that verifies during a rotation.

        Raises ConfigurationError without the first one, and for what is no such key.
        """
        prefix = population.value.upper()
        keys: dict[str, SecretStr | None] = {
            f"{prefix}_SIGNING_KEY": getattr(self, f"{population}_signing_key"),
            f"{prefix}_PREVIOUS_SIGNING_KEY": getattr(self, f"{population}_previous_signing_key"),
        }
        if keys[f"{prefix}_SIGNING_KEY"] is None:
            raise ConfigurationError(
                f"{prefix}_SIGNING_KEY is not set. Set it (or the file {population}_signing_key in "
                "$CREDENTIALS_DIRECTORY) to a P-256 private key in PKCS#8 PEM form."
            )
        known = [
            SigningKey.from_pem(pem.get_secret_value(), variable=variable)
            for variable, pem in keys.items()
            if pem is not None
        ]
        # Outside of a rotation a deployment gives the same key twice.
        return list({key.kid: key for key in known}.values())

    def autobot_public_keys(self) -> list[VerificationKey]:
        """The keys of the AutoBot backend. Raises ConfigurationError."""
        path = self.autobot_public_keys_file
        if path is None:
            raise ConfigurationError(
                "AUTOBOT_PUBLIC_KEYS_FILE is not set. On a host of the backend it is "
                "/etc/autobot-users/auth-public-keys.pem."
            )
        try:
            pem = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"AUTOBOT_PUBLIC_KEYS_FILE names {path}, which cannot be read ({reason(error)})."
            ) from error
        return VerificationKey.all_from_pem(pem, variable="AUTOBOT_PUBLIC_KEYS_FILE")

    @property
    def policy(self) -> Policy:
        """The rules of logging in."""
        return Policy(
            session_idle=timedelta(minutes=self.session_idle_minutes),
            session_absolute=timedelta(hours=self.session_absolute_hours),
            password_history=self.password_history,
            failures_per_pair=self.login_failures_per_pair,
            failures_per_account=self.login_failures_per_account,
            failures_per_address=self.login_failures_per_address,
            failures_global=self.login_failures_global,
        )

    @property
    def slm(self) -> DatabaseSettings:
        """The database of the fleet administrators."""
        return self.database(Population.SLM)

    @property
    def autobot(self) -> DatabaseSettings:
        """The database of the application users."""
        return self.database(Population.AUTOBOT)

    def database(self, population: Population) -> DatabaseSettings:
        """Connection settings of one database; the other one need not be configured.

        Raises ConfigurationError naming the variable that is missing or wrong.
        """
        prefix = f"{population.value.upper()}_POSTGRES_"
        url_name = f"{population.value.upper()}_USERS_DATABASE_URL"
        component = {
            name: getattr(self, f"{population.value}_postgres_{name}") for name in _COMPONENTS
        }
        fields = {
            "hosts": component["host"],
            "ports": component["port"],
            "database": component["db"],
            "user": component["user"],
            "password": component["password"],
            "other_password": component["other_password"],
            "sslrootcert": component["sslrootcert"],
        }
        url: SecretStr | None = getattr(self, f"{population.value}_users_database_url")
        if url is not None:
            try:
                fields |= _from_url(url.get_secret_value())
            except ValueError as error:
                raise ConfigurationError(f"{url_name} is not usable: {error}.") from None
        for field, variable in (("hosts", "HOST"), ("password", "PASSWORD")):
            if not fields[field]:
                raise ConfigurationError(
                    f"{prefix}{variable} is not set. Set it (or the file "
                    f"{(prefix + variable).lower()} in $CREDENTIALS_DIRECTORY), "
                    f"or give it in {url_name}."
                )
        try:
            return DatabaseSettings(**fields)
        except ValidationError as error:
            where = url_name if url is not None else f"{prefix}*"
            raise ConfigurationError(f"{where} is not usable: {_explain(error)}.") from None


def _explain(error: ValidationError) -> str:
    """The faults without their values: one of them may be a secret."""
    faults = []
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        place = ".".join(str(part) for part in fault["loc"][:1])
        message = fault["msg"].removeprefix("Value error, ")
        faults.append(f"{place}: {message}" if place else message)
    return "; ".join(faults)


def load_settings() -> Settings:
    """Read the settings from the environment and $CREDENTIALS_DIRECTORY.

    Raises ConfigurationError naming the variable and what to do; a value is never shown.
    """
    directories: Sequence[Path] = []
    if directory := os.environ.get("CREDENTIALS_DIRECTORY"):
        if not Path(directory).is_dir():
            raise ConfigurationError(
                f"CREDENTIALS_DIRECTORY names {directory}, which is not a directory. "
                "Unset it, or create it with one file per secret."
            )
        directories = [Path(directory)]
    try:
        return Settings(_secrets_dir=directories or None)
    except ValidationError as error:
        faults = "; ".join(
            f"{str(fault['loc'][0]).upper()}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise ConfigurationError(f"The configuration is not usable. Correct {faults}.") from None
