"""The command `slm` for operators: what they type and see."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from slm_server.cli import app, doctor
from slm_server.cli.check_result import ok
from tests.support.applications import Databases
from user_management.population import Population


@pytest.fixture
def environment(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Databases:
    """Settings of both databases, as the deployed service has them."""
    for database in databases.values():
        for name, value in database.environment(database.service).items():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("BCRYPT_COST", "4")
    return databases


@pytest.fixture
def slm(environment: Databases) -> Callable[..., Result]:
    """Run the command on these databases; the finished run."""
    assert environment

    def run(*arguments: object, typed: str | None = None) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments)], input=typed)

    return run


@pytest.fixture(params=Population)
def population(request: pytest.FixtureRequest) -> Population:
    population: Population = request.param
    return population


def objects(done: Result) -> Any:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def create(
    slm: Callable[..., Result],
    population: Population,
    name: str,
    *arguments: object,
    typed: str | None = None,
) -> Result:
    where = ("users", "create", "-p", population, "--username", name)
    return slm(*where, "--email", f"{name}@autobot.local", *arguments, typed=typed)


def test_the_life_of_a_user(slm: Callable[..., Result], population: Population) -> None:
    made = objects(create(slm, population, "marta", "--json"))
    assert (made["username"], made["is_active"], made["is_platform_admin"]) == (
        "marta",
        True,
        False,
    )
    for name in ("marta", "MARTA@autobot.local", made["id"]):
        assert objects(slm("users", "show", "-p", population, name, "--json")) == made
    assert "Disabled: marta." in slm("users", "disable", "-p", population, "marta").stdout
    shown = objects(slm("users", "list", "-p", population, "--disabled", "--json"))
    assert [user["username"] for user in shown] == ["marta"]
    assert slm("users", "enable", "-p", population, "marta").exit_code == 0
    assert objects(slm("users", "list", "-p", population, "--disabled", "--json")) == []
    refused = slm("users", "delete", "-p", population, "marta", typed="n\n")
    assert refused.exit_code == 1
    assert slm("users", "delete", "-p", population, "marta", "--yes").exit_code == 0
    gone = slm("users", "show", "-p", population, "marta")
    assert (gone.exit_code, gone.stderr) == (1, "There is no user marta.\n")


def test_a_first_password_from_standard_input_must_be_changed(
    slm: Callable[..., Result], population: Population, environment: Databases
) -> None:
    done = create(slm, population, "marta", "--password-stdin", typed="granite-otter-52\n")
    assert done.exit_code == 0, done.output
    row = environment[population].sql(
        "SELECT must_change_password, password_hash LIKE '$2b$04$%' FROM users "
        "JOIN user_credentials ON user_id = id"
    )
    assert row == "t|t"
    assert "granite" not in done.output
    nothing = create(slm, population, "omar", "--password-stdin", typed="")
    assert (nothing.exit_code, nothing.stderr) == (1, "There is no password on standard input.\n")


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("ab", None, "username: String should have at least 3 characters"),
        ("marta", "short\n", "too short"),
        ("captain", None, "is taken."),
    ],
)
def test_what_is_refused_is_said_in_one_sentence(
    slm: Callable[..., Result], population: Population, name: str, typed: str | None, said: str
) -> None:
    create(slm, population, "captain")
    password = ["--password-stdin"] if typed else []
    done = create(slm, population, name, *password, typed=typed)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_tables_show_what_people_typed_as_text(
    slm: Callable[..., Result], environment: Databases
) -> None:
    environment[Population.AUTOBOT].sql(
        "INSERT INTO users (username, email) VALUES (E'[red]x\\x1b[31m', 'x@y.z')"
    )
    shown = slm("users", "list", "-p", "autobot").stdout
    assert "[red]x\N{REPLACEMENT CHARACTER}[31m" in shown
    assert "\x1b" not in shown


def test_an_unreachable_database_is_said(
    slm: Callable[..., Result], population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{population.upper()}_POSTGRES_HOST", "/nowhere")
    done = slm("users", "list", "-p", population)
    assert done.exit_code == 1
    assert f"The database of the {population} users is unavailable." in done.stderr


def examine(slm: Callable[..., Result]) -> tuple[Any, ...]:
    """What doctor finds, by the name of the check."""
    done = slm("doctor", "--json")
    assert done.stdout, done.exception
    return done.exit_code, {check["check"]: check for check in json.loads(done.stdout)}


@pytest.fixture
def healthy(
    slm: Callable[..., Result],
    environment: Databases,
    monkeypatch: pytest.MonkeyPatch,
    signing_key: str,
) -> Databases:
    """All is well but for HTTPS, which no test has."""
    monkeypatch.setenv("SLM_SIGNING_KEY", signing_key)
    monkeypatch.setattr(doctor, "_check_https", lambda _: ok("HTTPS certificate", ""))
    for population in Population:
        create(slm, population, "captain", "--admin")
    return environment


@pytest.mark.usefixtures("healthy")
def test_doctor_finds_nothing_where_nothing_is_wrong(slm: Callable[..., Result]) -> None:
    status, checks = examine(slm)
    assert status == 0
    assert {check["state"] for check in checks.values()} == {"ok"}
    assert len(checks) == 3 + 7 * len(Population)


@pytest.mark.parametrize(
    ("damage", "check", "advice"),
    [
        (
            "UPDATE user_management_version SET version_num = '0002'",
            "schema",
            "Deploy again",
        ),
        (
            "INSERT INTO audit_logs (action, resource_type, created_at) "
            "VALUES ('x', 'user', now() - interval '10 minutes')",
            "audit log",
            "slm audit verify",
        ),
    ],
)
def test_doctor_says_what_to_do(
    slm: Callable[..., Result],
    healthy: Databases,
    population: Population,
    damage: str,
    check: str,
    advice: str,
) -> None:
    healthy[population].sql(damage)
    status, checks = examine(slm)
    found = checks[f"{population} {check}"]
    assert (status, found["state"]) == (1, "failed")
    assert advice in found["advice"]
    assert [each["state"] for each in checks.values()].count("failed") == 1


def test_doctor_asks_for_an_administrator(
    slm: Callable[..., Result], healthy: Databases, population: Population
) -> None:
    healthy[population].sql("DELETE FROM users")
    status, checks = examine(slm)
    found = checks[f"{population} administrators"]
    assert (status, found["state"], found["found"]) == (0, "warning", "missing")
    assert f"slm admin create --population {population}" in found["advice"]


@pytest.mark.parametrize(
    ("found", "state"), [("refused", "ok"), ("accepted", "warning"), ("unknown", "warning")]
)
@pytest.mark.usefixtures("healthy")
def test_doctor_says_whether_ssh_takes_passwords(
    slm: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, found: str, state: str
) -> None:
    """The command on the host has asked sshd."""
    monkeypatch.setenv("HOST_SSH_PASSWORDS", found)
    status, checks = examine(slm)
    assert status == 0
    check = checks["SSH of this host"]
    assert check["state"] == state
    assert bool(check["advice"]) is (state == "warning")


@pytest.mark.usefixtures("healthy")
def test_doctor_sees_a_wrong_clock(
    slm: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CLOCK_TOLERANCE", -doctor.CLOCK_TOLERANCE)
    status, checks = examine(slm)
    assert (status, checks["slm clock"]["state"]) == (1, "failed")


@pytest.mark.usefixtures("healthy")
def test_doctor_names_the_database_that_is_away(
    slm: Callable[..., Result], population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{population.upper()}_POSTGRES_HOST", "/nowhere")
    status, checks = examine(slm)
    assert status == 1
    assert checks[f"{population} database"]["found"] == "does not answer"
    other = next(each for each in Population if each is not population)
    assert checks[f"{other} schema"]["state"] == "ok"


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("SLM_SIGNING_KEY", "nonsense", "signing key"),
        ("BCRYPT_COST", "99", "configuration"),
        ("AUTOBOT_POSTGRES_PASSWORD", "", "autobot database"),
    ],
)
def test_doctor_reads_the_configuration(
    slm: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, name: str, value: str, check: str
) -> None:
    monkeypatch.setenv(name, value)
    status, checks = examine(slm)
    assert (status, checks[check]["state"]) == (1, "failed")
    assert name in checks[check]["advice"]


def test_doctor_finds_the_web_server_away(slm: Callable[..., Result]) -> None:
    _, checks = examine(slm)
    found = checks["HTTPS certificate"]
    assert (found["state"], "nginx" in found["advice"]) == ("failed", True)


def test_a_reset_password_is_shown_once_and_unlocking_is_said(
    slm: Callable[..., Result], population: Population
) -> None:
    create(slm, population, "marta")
    made = objects(slm("users", "reset-password", "-p", population, "marta", "--json"))
    assert len(made["one_time_password"]) >= 20
    assert slm("users", "unlock", "-p", population, "marta").stdout == "Unlocked: marta.\n"
    unknown = slm("users", "unlock", "-p", population, "omar")
    assert (unknown.exit_code, unknown.stderr) == (1, "There is no user omar.\n")


def test_sessions_are_listed_and_ended(
    slm: Callable[..., Result], population: Population, environment: Databases
) -> None:
    user = objects(create(slm, population, "marta", "--json"))
    environment[population].sql(
        "INSERT INTO auth_sessions (user_id, expires_at, user_agent) "
        f"SELECT '{user['id']}', now() + interval '1 hour', 'tab ' || n "
        "FROM generate_series(1, 3) n"
    )
    where = ("-p", population, "marta")
    listed = objects(slm("sessions", "list", *where, "--json"))
    assert {session["user_agent"] for session in listed} == {"tab 1", "tab 2", "tab 3"}
    one = slm("sessions", "end", *where, "--session", listed[0]["id"])
    assert one.stdout == f"Ended: {listed[0]['id']} of marta.\n"
    assert len(objects(slm("sessions", "list", *where, "--json"))) == 2
    assert slm("sessions", "end", *where).exit_code == 0
    assert objects(slm("sessions", "list", *where, "--json")) == []
    again = slm("sessions", "end", *where, "--session", listed[0]["id"])
    assert (again.exit_code, again.stderr) == (1, "Session not found.\n")


def test_roles_are_made_given_and_taken(slm: Callable[..., Result], population: Population) -> None:
    create(slm, population, "marta")
    where = ("-p", population)
    system = objects(slm("roles", "list", *where, "--json"))
    assert {role["name"] for role in system} == {"admin", "user", "readonly"}
    wanted = ("--permission", "users:read", "--permission", "audit:read")
    made = objects(slm("roles", "create", *where, "Auditor", *wanted, "--json"))
    assert made["permissions"] == ["audit:read", "users:read"]
    assert slm("roles", "assign", *where, "marta", "auditor").exit_code == 0
    user = objects(slm("users", "show", *where, "marta", "--json"))
    assert [role["name"] for role in user["roles"]] == ["Auditor"]
    assert slm("roles", "revoke", *where, "marta", made["id"]).exit_code == 0
    assert slm("roles", "delete", *where, "Auditor", "--yes").exit_code == 0
    gone = slm("roles", "assign", *where, "marta", "Auditor")
    assert (gone.exit_code, gone.stderr) == (1, "There is no role Auditor.\n")


def test_organizations_and_teams(slm: Callable[..., Result]) -> None:
    made = objects(slm("organizations", "create", "Acme Works", "--max-users", 1, "--json"))
    assert (made["slug"], made["max_users"]) == ("acme-works", 1)
    create(slm, Population.AUTOBOT, "marta", "--organization", made["id"])
    full = create(slm, Population.AUTOBOT, "omar", "--organization", made["id"])
    assert "max_users" in full.stderr
    assert slm("organizations", "update", "acme-works", "--max-users", 5).exit_code == 0
    team = objects(slm("teams", "create", "Crew", "--organization", "acme-works", "--json"))
    assert slm("teams", "add", team["id"], "marta", "--role", "owner").stdout == (
        "Added: marta, owner.\n"
    )
    [member] = objects(slm("teams", "members", team["id"], "--json"))
    assert (member["username"], member["role"]) == ("marta", "owner")
    owner = slm("teams", "remove", team["id"], "marta")
    assert "last owner" in owner.stderr
    [listed] = objects(slm("teams", "list", "--organization", "acme-works", "--json"))
    assert (listed["name"], listed["member_count"]) == ("Crew", 1)
    assert slm("teams", "delete", team["id"], typed="y\n").exit_code == 0
    used = slm("organizations", "delete", "acme-works", "--yes")
    assert (used.exit_code, "has users" in used.stderr) == (1, True)
    slm("users", "delete", "-p", "autobot", "marta", "--yes")
    assert slm("organizations", "delete", "acme-works", "--yes").exit_code == 0
    assert objects(slm("organizations", "list", "--json")) == []


def test_the_shell_completes_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SLM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "slm org")
    monkeypatch.setenv("COMP_CWORD", "1")
    done = CliRunner().invoke(app, [], prog_name="slm")
    assert done.stdout.split() == ["organizations"]
