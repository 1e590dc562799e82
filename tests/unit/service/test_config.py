"""Configuration: where values come from, and that errors name them without showing secrets."""

import os
import re
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from user_management.config import DatabaseSettings, Settings, load_settings
from user_management.errors import ConfigurationError
from user_management.policy import Policy
from user_management.population import Population
from user_management.security.tokens import SigningKey

HARD = "p@ss:w/o#r%d?&=+ é"
ENCODED = "p%40ss%3Aw%2Fo%23r%25d%3F%26%3D%2B%20%C3%A9"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Nothing set but what the test sets: `environment(NAME="value")`."""
    for name in list(os.environ):
        if name.startswith(("SLM_", "AUTOBOT_")) or name in (
            *(field.upper() for field in Settings.model_fields),
            "CREDENTIALS_DIRECTORY",
        ):
            monkeypatch.delenv(name)

    def put(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


def test_defaults(environment: Callable[..., None]) -> None:
    environment(SLM_POSTGRES_PASSWORD="x")
    settings = load_settings()
    assert settings.slm == DatabaseSettings(
        hosts=("127.0.0.1",), ports=(5432,), database="slm_users", user="slm_admin", password="x"
    )
    assert settings.access_token_expire_minutes == 30
    assert settings.bcrypt_cost == 12
    assert settings.hash_threads == len(os.sched_getaffinity(0))
    assert settings.slm_signing_key is None
    assert settings.slm_previous_signing_key is None
    assert settings.policy == Policy(
        session_idle=timedelta(hours=1),
        session_absolute=timedelta(hours=12),
        password_history=5,
        failures_per_pair=5,
        failures_per_account=100,
        failures_per_address=100,
        failures_global=2000,
    )


def test_the_rules_of_logging_in(environment: Callable[..., None]) -> None:
    environment(
        SESSION_IDLE_MINUTES="30",
        SESSION_ABSOLUTE_HOURS="8",
        PASSWORD_HISTORY="0",
        LOGIN_FAILURES_PER_PAIR="1",
        LOGIN_FAILURES_PER_ACCOUNT="2",
        LOGIN_FAILURES_PER_ADDRESS="3",
        LOGIN_FAILURES_GLOBAL="4",
    )
    assert load_settings().policy == Policy(
        session_idle=timedelta(minutes=30),
        session_absolute=timedelta(hours=8),
        password_history=0,
        failures_per_pair=1,
        failures_per_account=2,
        failures_per_address=3,
        failures_global=4,
    )


def test_the_guide_names_each_rule_with_its_default() -> None:
    guide = (Path(__file__).parents[3] / "docs/security.md").read_text()
    prefixes = ("login_failures_", "session_", "password_history")
    rules = {
        name.upper(): field.default
        for name, field in Settings.model_fields.items()
        if name.startswith(prefixes)
    }
    assert len(rules) == 7
    in_tables = {
        name: int(default)
        for name, default in re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", guide, re.MULTILINE)
    }
    in_text = {name: int(default) for name, default in re.findall(r"`([A-Z_]+)` \((\d+);", guide)}
    assert in_tables | in_text == rules


def test_components(environment: Callable[..., None]) -> None:
    environment(
        AUTOBOT_POSTGRES_HOST="redis.autobot.internal",
        AUTOBOT_POSTGRES_PORT="6432",
        AUTOBOT_POSTGRES_DB="people",
        AUTOBOT_POSTGRES_USER="slm_service",
        AUTOBOT_POSTGRES_PASSWORD=HARD,
    )
    arguments = load_settings().autobot.connect_arguments()
    assert arguments.pop("ssl").verify_mode is ssl.CERT_REQUIRED
    assert arguments == {
        "host": ["redis.autobot.internal"],
        "port": [6432],
        "database": "people",
        "user": "slm_service",
        "password": HARD,
        "target_session_attrs": "any",
    }


def test_one_database_does_not_need_the_other(environment: Callable[..., None]) -> None:
    environment(SLM_POSTGRES_PASSWORD="x")
    settings = load_settings()
    assert settings.database(Population.SLM).database == "slm_users"
    with pytest.raises(ConfigurationError, match="AUTOBOT_POSTGRES_HOST is not set"):
        settings.database(Population.AUTOBOT)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+asyncpg"])
def test_a_url_wins_over_the_components(environment: Callable[..., None], scheme: str) -> None:
    environment(
        SLM_POSTGRES_HOST="elsewhere",
        SLM_POSTGRES_PASSWORD="other",
        SLM_USERS_DATABASE_URL=f"{scheme}://slm_app:{ENCODED}@10.0.0.1:5433/slm_users",
    )
    slm = load_settings().slm
    assert (slm.hosts, slm.ports, slm.user) == (("10.0.0.1",), (5433,), "slm_app")
    assert slm.password.get_secret_value() == HARD


def test_a_url_may_leave_the_password_to_its_variable(environment: Callable[..., None]) -> None:
    environment(
        AUTOBOT_USERS_DATABASE_URL="postgresql://slm_service@10.0.0.1/autobot_users",
        AUTOBOT_POSTGRES_PASSWORD=HARD,
    )
    assert load_settings().autobot.password.get_secret_value() == HARD


@pytest.mark.parametrize(
    ("other", "passwords"), [("", [HARD]), (HARD, [HARD]), ("next", [HARD, "next"])]
)
@pytest.mark.parametrize("url", ["", "postgresql://slm_service@10.0.0.1/autobot_users"])
def test_another_password_comes_second(
    environment: Callable[..., None], other: str, passwords: list[str], url: str
) -> None:
    environment(
        AUTOBOT_USERS_DATABASE_URL=url,
        AUTOBOT_POSTGRES_HOST="10.0.0.1",
        AUTOBOT_POSTGRES_PASSWORD=HARD,
        AUTOBOT_POSTGRES_OTHER_PASSWORD=other,
    )
    assert load_settings().autobot.passwords == passwords


def test_several_hosts(environment: Callable[..., None]) -> None:
    environment(
        SLM_POSTGRES_HOST="a.internal, b.internal",
        SLM_POSTGRES_PASSWORD="x",
        AUTOBOT_USERS_DATABASE_URL=(
            "postgresql://u:p@a:5433,[fd00::1]:5434,c/autobot_users?target_session_attrs=read-write"
        ),
    )
    slm = load_settings().slm.connect_arguments()
    assert (slm["host"], slm["port"]) == (["a.internal", "b.internal"], [5432, 5432])
    autobot = load_settings().autobot.connect_arguments()
    assert autobot["host"] == ["a", "fd00::1", "c"]
    assert autobot["port"] == [5433, 5434, 5432]
    assert autobot["target_session_attrs"] == "read-write"


def test_a_port_for_each_host(environment: Callable[..., None]) -> None:
    environment(SLM_POSTGRES_HOST="a,b", SLM_POSTGRES_PORT="5433,5434", SLM_POSTGRES_PASSWORD="x")
    assert load_settings().slm.connect_arguments()["port"] == [5433, 5434]


@pytest.mark.parametrize(
    "values",
    [
        {"SLM_POSTGRES_HOST": "/run/postgresql", "SLM_POSTGRES_PASSWORD": "x"},
        {"SLM_USERS_DATABASE_URL": "postgresql://u:p@%2Frun%2Fpostgresql/slm_users"},
        {"SLM_USERS_DATABASE_URL": "postgresql://u:p@/slm_users?host=/run/postgresql"},
    ],
)
def test_a_unix_socket_has_no_tls(environment: Callable[..., None], values: dict[str, str]) -> None:
    environment(**values)
    arguments = load_settings().slm.connect_arguments()
    assert arguments["host"] == ["/run/postgresql"]
    assert arguments["ssl"] is False


def test_tls_verifies_the_name_against_the_given_ca_alone(
    environment: Callable[..., None], certificate_authority: Any
) -> None:
    ca = certificate_authority("test CA")
    environment(SLM_POSTGRES_PASSWORD="x", SLM_POSTGRES_SSLROOTCERT=str(ca.certificate))
    context = load_settings().slm.connect_arguments()["ssl"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert [dict(x[0] for x in c["subject"]) for c in context.get_ca_certs()] == [
        {"commonName": "test CA"}
    ]


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_an_unusable_ca_file_is_named(
    environment: Callable[..., None], tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "broken.crt"
    if content is not None:
        path.write_text(content)
    environment(SLM_POSTGRES_PASSWORD="x", SLM_POSTGRES_SSLROOTCERT=str(path))
    with pytest.raises(ConfigurationError, match=r"broken\.crt.*SSLROOTCERT"):
        load_settings().slm.connect_arguments()


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_verification_cannot_be_switched_off(environment: Callable[..., None], mode: str) -> None:
    environment(SLM_USERS_DATABASE_URL=f"postgresql://u:p@h/d?sslmode={mode}")
    with pytest.raises(ConfigurationError, match="sslmode can only be verify-full"):
        _ = load_settings().slm


def test_secrets_come_from_files_and_variables_win(
    environment: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "slm_postgres_password").write_text(f"{HARD}\n")
    (tmp_path / "slm_signing_key").write_text("-----BEGIN PRIVATE KEY-----\nA\n")
    (tmp_path / "slm_postgres_user").write_text("from_file")
    environment(CREDENTIALS_DIRECTORY=str(tmp_path), SLM_POSTGRES_USER="from_variable")
    settings = load_settings()
    assert settings.slm.password.get_secret_value() == HARD
    assert settings.slm.user == "from_variable"
    assert settings.slm_signing_key is not None
    assert settings.slm_signing_key.get_secret_value().startswith("-----BEGIN")


def test_an_empty_variable_is_none(environment: Callable[..., None]) -> None:
    environment(SLM_POSTGRES_PASSWORD="x", SLM_POSTGRES_HOST="", SLM_POSTGRES_SSLROOTCERT="")
    assert load_settings().slm.hosts == ("127.0.0.1",)
    assert load_settings().slm.sslrootcert is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "SLM_POSTGRES_PASSWORD is not set. Set it (or the file slm_postgres_password"),
        ({"SLM_POSTGRES_PORT": "x"}, "SLM_POSTGRES_* is not usable: ports"),
        ({"SLM_POSTGRES_PORT": "0"}, "SLM_POSTGRES_* is not usable: ports"),
        ({"SLM_POSTGRES_HOST": "a,"}, "SLM_POSTGRES_* is not usable: hosts"),
        ({"SLM_POSTGRES_HOST": "a,/run"}, "a unix socket directory must be the only host"),
        ({"SLM_POSTGRES_HOST": "a,b,c", "SLM_POSTGRES_PORT": "1,2"}, "2 ports for 3 hosts"),
        (
            {"SLM_USERS_DATABASE_URL": f"mysql://u:{ENCODED}@h/d"},
            "SLM_USERS_DATABASE_URL is not usable: it must begin with postgresql://",
        ),
        (
            {"SLM_USERS_DATABASE_URL": f"postgresql://u:{ENCODED}@h/d?foo=1"},
            "SLM_USERS_DATABASE_URL is not usable: unknown option 'foo'",
        ),
        (
            {"SLM_USERS_DATABASE_URL": f"postgresql://u:{ENCODED}@h"},
            "SLM_USERS_DATABASE_URL is not usable: database",
        ),
        (
            {"SLM_USERS_DATABASE_URL": f"postgresql://u:{ENCODED}@h:{HARD}/d"},
            "SLM_USERS_DATABASE_URL is not usable",
        ),
        (
            {"SLM_USERS_DATABASE_URL": f"postgresql://u:{HARD}@[h/d"},
            "SLM_USERS_DATABASE_URL is not usable",
        ),
        (
            {"SLM_USERS_DATABASE_URL": f"postgresql://u:{ENCODED}@h/d?target_session_attrs=best"},
            "target_session_attrs: Input should be 'any', 'primary' or 'read-write'",
        ),
        ({"BCRYPT_COST": "three"}, "BCRYPT_COST"),
        ({"ACCESS_TOKEN_EXPIRE_MINUTES": "0"}, "ACCESS_TOKEN_EXPIRE_MINUTES"),
        ({"HASH_THREADS": "0"}, "HASH_THREADS"),
        ({"SESSION_IDLE_MINUTES": "29"}, "at least ACCESS_TOKEN_EXPIRE_MINUTES, which is 30"),
        ({"ACCESS_TOKEN_EXPIRE_MINUTES": "61"}, "SESSION_IDLE_MINUTES"),
        ({"SESSION_ABSOLUTE_HOURS": "0"}, "SESSION_ABSOLUTE_HOURS"),
        ({"PASSWORD_HISTORY": "-1"}, "PASSWORD_HISTORY"),
        ({"LOGIN_FAILURES_PER_PAIR": "0"}, "LOGIN_FAILURES_PER_PAIR"),
        ({"LOGIN_FAILURES_PER_ACCOUNT": "0"}, "LOGIN_FAILURES_PER_ACCOUNT"),
        ({"LOGIN_FAILURES_PER_ADDRESS": "0"}, "LOGIN_FAILURES_PER_ADDRESS"),
        ({"LOGIN_FAILURES_GLOBAL": "0"}, "LOGIN_FAILURES_GLOBAL"),
        ({"FRONTEND_ORIGINS": "*"}, "FRONTEND_ORIGINS"),
        ({"GATEWAY_COOKIE_PATHS": "/a, b"}, "GATEWAY_COOKIE_PATHS"),
        ({"GATEWAY_COOKIE_PATHS": "/a; HttpOnly"}, "GATEWAY_COOKIE_PATHS"),
        ({"CREDENTIALS_DIRECTORY": "/nowhere"}, "CREDENTIALS_DIRECTORY names /nowhere"),
    ],
)
def test_a_fault_is_named_and_no_secret_is_shown(
    environment: Callable[..., None], values: dict[str, str], message: str
) -> None:
    if values:
        environment(SLM_POSTGRES_PASSWORD=HARD)
    environment(**values)
    with pytest.raises(ConfigurationError) as caught:
        _ = load_settings().slm
    shown = str(caught.value)
    assert message in shown
    assert HARD not in shown
    assert ENCODED not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("https://autobot.example", ("https://autobot.example",)),
        (
            "https://autobot.example:8443, http://localhost:5173 ,https://192.0.2.1\n",
            ("https://autobot.example:8443", "http://localhost:5173", "https://192.0.2.1"),
        ),
        ("", ()),
    ],
)
def test_origins_of_the_frontend(
    environment: Callable[..., None], value: str, origins: tuple[str, ...]
) -> None:
    environment(FRONTEND_ORIGINS=value)
    assert load_settings().frontend_origins == origins


def test_without_a_variable_there_are_no_origins_of_the_frontend() -> None:
    assert load_settings().frontend_origins == ()


@pytest.mark.parametrize(
    "value",
    [
        *("*", "null", "autobot.example", "//autobot.example", "https://*.autobot.example"),
        *("https://autobot.example/", "https://autobot.example/login", "https://AutoBot.example"),
        *("https://me@autobot.example", "https://autobot.example:port", "ftp://autobot.example"),
        *("https://autobot.example,", "https://autobot.example https://other.example"),
        *("https://autobot.example,*", "https://"),
        '["https://autobot.example"]',
    ],
)
def test_what_no_browser_sends_as_an_origin_is_refused(
    environment: Callable[..., None], value: str
) -> None:
    environment(FRONTEND_ORIGINS=value)
    with pytest.raises(ConfigurationError, match="FRONTEND_ORIGINS"):
        load_settings()


def test_a_signing_key_that_is_missing_or_none_is_named(environment: Callable[..., None]) -> None:
    for population in Population:
        prefix = population.upper()
        environment(**{f"{prefix}_SIGNING_KEY": ""})
        with pytest.raises(ConfigurationError) as missing:
            load_settings().signing_keys(population)
        assert str(missing.value) == (
            f"{prefix}_SIGNING_KEY is not set. Set it (or the file {population}_signing_key in "
            "$CREDENTIALS_DIRECTORY) to a P-256 private key in PKCS#8 PEM form."
        )
        environment(**{f"{prefix}_SIGNING_KEY": "hush-hush"})
        with pytest.raises(ConfigurationError, match=f"^{prefix}_SIGNING_KEY must be a") as wrong:
            load_settings().signing_keys(population)
        assert "hush" not in str(wrong.value)


def test_the_same_signing_key_twice_is_one(environment: Callable[..., None]) -> None:
    one, other = (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
        for _ in range(2)
    )
    environment(SLM_SIGNING_KEY=one, SLM_PREVIOUS_SIGNING_KEY=one)
    assert len(load_settings().signing_keys(Population.SLM)) == 1
    environment(SLM_SIGNING_KEY=one, SLM_PREVIOUS_SIGNING_KEY=other)
    first, second = load_settings().signing_keys(Population.SLM)
    assert first.kid == SigningKey.from_pem(one, variable="one").kid
    assert second.kid == SigningKey.from_pem(other, variable="other").kid


def test_secrets_do_not_show_in_representations(environment: Callable[..., None]) -> None:
    environment(
        SLM_POSTGRES_PASSWORD="hush-hush",
        SLM_POSTGRES_OTHER_PASSWORD="hush-hush, too",
        SLM_SIGNING_KEY="hush-hush",
        AUTOBOT_USERS_DATABASE_URL="postgresql://u:hush-hush@h/d",
    )
    settings = load_settings()
    assert "hush" not in f"{settings!r} {settings.slm!r} {settings.autobot!r}"


def test_pydantics_own_errors_hide_the_values(environment: Callable[..., None]) -> None:
    with pytest.raises(ValidationError) as caught:
        DatabaseSettings(hosts=(), database="d", user="u", password="hush-hush", ports=(0,))
    assert "hush" not in str(caught.value)
    environment(SLM_SIGNING_KEY="hush-hush", BCRYPT_COST="hush-hush")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "hush" not in str(caught.value)


def test_settings_do_not_change(environment: Callable[..., None]) -> None:
    environment(SLM_POSTGRES_PASSWORD="x")
    settings: Settings = load_settings()
    with pytest.raises(ValidationError):
        settings.bcrypt_cost = 4  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.slm.user = "other"  # type: ignore[misc]
