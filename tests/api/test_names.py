"""Names that are somebody else's address, or look like another's: the same at every door."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import httpx2
import pytest
from typer.testing import CliRunner, Result

from slm_server.cli import app
from tests.support.applications import Databases, Door, Site
from user_management.population import Population
from user_management.transfer.target_database import NewUser, TargetDatabase

FULLWIDTH_SEC = "\N{FULLWIDTH LATIN SMALL LETTER S}ec"
# From before there was a rule.
OLD = ("stra\N{LATIN SMALL LETTER SHARP S}e", FULLWIDTH_SEC, "jose\N{COMBINING ACUTE ACCENT}")


@pytest.fixture(params=Population)
def population(request: pytest.FixtureRequest) -> Population:
    population: Population = request.param
    return population


@pytest.fixture
def path(population: Population) -> str:
    return f"/api/{population}-users"


@pytest.fixture
def slm(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command on these databases; the finished run."""
    for database in databases.values():
        for name, value in database.environment(database.service).items():
            monkeypatch.setenv(name, value)

    def run(*arguments: object, typed: str | None = None) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments)], input=typed)

    return run


@pytest.fixture
def bring(
    slm: Callable[..., Result], population: Population
) -> Callable[..., list[tuple[str, str | None]]]:
    """Import rows; what became of them, as pairs of outcome and reason."""

    def run(*rows: dict[str, Any]) -> list[tuple[str, str | None]]:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        source = ("--from", "ndjson", "--json", "--apply", "-")
        done = slm("import", "--population", population, *source, typed=lines)
        assert done.stdout, done.output
        *told, _ = map(json.loads, done.stdout.splitlines())
        return [(row["outcome"], row["reason"]) for row in told]

    return run


async def create(
    admin: httpx2.AsyncClient, path: str, name: str, email: str | None = None, **fields: Any
) -> httpx2.Response:
    body = {"username": name, "email": email or f"{name}@x.y", **fields}
    return await admin.post(path, json=body)


async def id_of(admin: httpx2.AsyncClient, path: str, name: str) -> str:
    (found,) = (await admin.get(path, params={"search": name})).json()["users"]
    value: str = found["id"]
    return value


async def test_a_name_stays_its_users_when_their_address_changes(
    admin: httpx2.AsyncClient,
    population: Population,
    path: str,
    bring: Callable[..., list[tuple[str, str | None]]],
    slm: Callable[..., Result],
) -> None:
    """The case of which the rule is made, at every door."""
    own = {"username": "own@example.org", "roles": ["user"]}
    assert await asyncio.to_thread(bring, own) == [("created", None)]
    key = await id_of(admin, path, "own@example.org")
    changed = await admin.patch(f"{path}/{key}", json={"email": "new@example.org"})
    assert changed.status_code == 200, changed.text
    taken = await create(admin, path, "eve", "Own@Example.org")
    assert (taken.status_code, taken.json()["code"]) == (409, "duplicate")
    assert taken.json()["detail"].startswith("This e-mail address is another user's username")
    eve = (await create(admin, path, "eve")).json()
    taken = await admin.patch(f"{path}/{eve['id']}", json={"email": "own@example.org"})
    assert taken.status_code == 409
    ((outcome, reason),) = await asyncio.to_thread(
        bring, {"username": "bob", "email": "own@example.org"}
    )
    assert outcome == "skipped"
    assert reason == ("Its e-mail address is the username of an existing user, new@example.org.")
    # The name is still its user's, for a command and for an import.
    assert await asyncio.to_thread(bring, own) == [("unchanged", None)]
    assert (
        await asyncio.to_thread(slm, "users", "disable", "-p", population, "own@example.org")
    ).exit_code == 0
    assert not (await admin.get(f"{path}/{key}")).json()["is_active"]
    assert (await admin.get(f"{path}/{eve['id']}")).json()["is_active"]
    # Back to the address, or gone: then it is free.
    back = await admin.patch(f"{path}/{key}", json={"email": "own@example.org"})
    assert back.status_code == 200
    assert (await admin.delete(f"{path}/{key}")).status_code == 204
    assert (await create(admin, path, "late", "own@example.org")).status_code == 201


async def test_a_word_that_means_two_is_refused_and_both_are_named(
    admin: httpx2.AsyncClient,
    site: Site,
    population: Population,
    path: str,
    slm: Callable[..., Result],
) -> None:
    """Two users who clash since before there was a rule."""
    site.databases[population].sql(
        "ALTER TABLE users DISABLE TRIGGER USER;"
        "INSERT INTO users (username, email) VALUES ('a@x.y', 'one@x.y'), ('two', 'a@x.y');"
        "ALTER TABLE users ENABLE TRIGGER USER"
    )
    keys = [await id_of(admin, path, email) for email in ("one@x.y", "two")]
    for command in ("show", "disable", "unlock", "reset-password"):
        done = await asyncio.to_thread(slm, "users", command, "-p", population, "A@x.y")
        assert done.exit_code == 1
        assert done.stderr.startswith("A@x.y may be more than one user: ")
        assert "a@x.y (one@x.y), id " + keys[0] in done.stderr
        assert "two (a@x.y), id " + keys[1] in done.stderr
    assert (
        await asyncio.to_thread(slm, "users", "disable", "-p", population, keys[0])
    ).exit_code == 0
    assert (
        await asyncio.to_thread(slm, "users", "show", "-p", population, "one@x.y")
    ).exit_code == 0


def test_a_slug_that_is_another_organizations_id(
    slm: Callable[..., Result], databases: Databases
) -> None:
    databases[Population.AUTOBOT].sql(
        "INSERT INTO organizations (id, name, slug) VALUES"
        " ('00000000-0000-0000-0000-000000000007', 'Seven', 'seven'),"
        " (gen_random_uuid(), 'Sham', '00000000-0000-0000-0000-000000000007')"
    )
    done = slm("organizations", "delete", "--yes", "00000000-0000-0000-0000-000000000007")
    assert done.exit_code == 1
    assert "Seven, id" in done.stderr
    assert "Sham, id" in done.stderr


async def test_who_clashes_logs_in_with_the_address(site: Site) -> None:
    """Nobody is locked out by the rule; an address comes before a name."""
    for name in ("one", "two"):
        await site.add_user(Population.SLM, name)
    site.databases[Population.SLM].sql(
        "ALTER TABLE users DISABLE TRIGGER USER;"
        "UPDATE users SET username = 'two@autobot.local' WHERE username = 'one';"
        "ALTER TABLE users ENABLE TRIGGER USER"
    )
    for name, whom in {
        "one@autobot.local": "two@autobot.local",
        "two": "two",
        "two@autobot.local": "two",
    }.items():
        headers = await site.login(name)
        me = (await site.client.get("/api/slm-auth/me", headers=headers)).json()
        assert me["username"] == whom


@pytest.mark.parametrize("name", OLD, ids=ascii)
async def test_names_from_before_the_rule_log_in_as_before(
    site: Site, door: Door, name: str
) -> None:
    await site.add_user(door.resources.callers, "old")
    site.databases[door.resources.callers].sql(
        f"UPDATE users SET username = '{name}' WHERE username = 'old'"
    )
    assert (await door.try_login(name)).is_success


async def test_names_that_look_alike_are_one_at_a_login(site: Site) -> None:
    await site.add_user(Population.SLM, "sec")
    for typed in ("SEC", FULLWIDTH_SEC, "\N{LATIN SMALL LETTER LONG S}EC"):
        await site.login(typed)
    # They count as one where guesses are counted.
    for typed in ("sec", FULLWIDTH_SEC, "\N{LATIN SMALL LETTER LONG S}ec", "SEC", "Sec"):
        assert (await site.try_login(typed, "wrong-password-9")).status_code == 401
    assert (await site.try_login("sec", "wrong-password-9")).status_code == 429


def test_a_word_that_is_taken_meanwhile_costs_one_row(
    bring: Callable[..., list[tuple[str, str | None]]],
    databases: Databases,
    population: Population,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An address becomes somebody's name between the look-up and the writing."""
    database = databases[population]
    assert bring({"username": "own", "email": "z@x.y"}) == [("created", None)]
    create = TargetDatabase.create

    async def overtaken(self: TargetDatabase, users: Sequence[NewUser]) -> set[UUID]:
        await asyncio.to_thread(database.sql, "UPDATE users SET username = 'own@x.y'")
        return await create(self, users)

    monkeypatch.setattr(TargetDatabase, "create", overtaken)
    assert bring({"username": "ada"}, {"username": "eve", "email": "own@x.y"}) == [
        ("created", None),
        ("skipped", "Somebody took the name meanwhile. Import again."),
    ]
    assert database.sql("SELECT username FROM users ORDER BY 1").split() == ["ada", "own@x.y"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("jose\N{COMBINING ACUTE ACCENT}", "JOSÉ"),
        ("sec", FULLWIDTH_SEC),
        ("sec", "\N{LATIN SMALL LETTER LONG S}ec"),
        ("Stra\N{LATIN SMALL LETTER SHARP S}e", "strasse"),
    ],
)
def test_an_import_takes_names_that_look_alike_for_one(
    bring: Callable[..., list[tuple[str, str | None]]], first: str, second: str
) -> None:
    assert bring({"username": first, "email": "a@x.y"}, {"username": second, "email": "b@x.y"}) == [
        ("created", None),
        ("skipped", "An earlier row has the same username."),
    ]
    assert bring({"username": second}) == [("unchanged", None)]


def test_a_display_name_is_imported_without_what_cannot_be_seen(
    bring: Callable[..., list[tuple[str, str | None]]], databases: Databases, population: Population
) -> None:
    name = "Jose\N{COMBINING ACUTE ACCENT}\N{ZERO WIDTH SPACE}"
    ((outcome, reason),) = bring({"username": "jose", "display_name": name})
    assert (outcome, reason) == (
        "created",
        "The display name is without the characters that people cannot see.",
    )
    assert databases[population].sql("SELECT display_name FROM users") == "José"


def test_an_import_makes_nobody_who_looks_like_an_old_name(
    bring: Callable[..., list[tuple[str, str | None]]], databases: Databases, population: Population
) -> None:
    databases[population].sql(
        "".join(f"INSERT INTO users (username, email) VALUES ('{n}', '{i}@x.y');"
                for i, n in enumerate(OLD))
    )  # fmt: skip
    told = bring({"username": "sec"}, {"username": "jos\N{LATIN SMALL LETTER E WITH ACUTE}"})
    assert [outcome for outcome, _ in told] == ["skipped", "skipped"]
    assert told[0][1] == "Its username looks like that of an existing user, 1@x.y."
    # What is imported once more is who it was.
    told = bring(*({"username": name, "display_name": None} for name in OLD))
    assert told == [("unchanged", None)] * 3


def test_who_would_be_refused_today_is_named(
    databases: Databases, population: Population, slm: Callable[..., Result]
) -> None:
    database = databases[population]
    database.sql(
        "ALTER TABLE users DISABLE TRIGGER words_added;"
        "INSERT INTO users (username, email, display_name) VALUES"
        f" ('{FULLWIDTH_SEC}', 'one@x.y', NULL), ('zero\N{ZERO WIDTH SPACE}', 'two@x.y', NULL),"
        " ('plain', 'b\N{LATIN SMALL LETTER U WITH DIAERESIS}@x.y', 'Plain'),"
        " ('Upper', 'four@x.y', NULL), ('shown', 'five@x.y', 'a\N{HANGUL FILLER}'),"
        " ('fine', 'six@x.y', 'J\N{LATIN SMALL LETTER O WITH DIAERESIS}rg'),"
        " ('seven', 'seven@autobot.local', NULL), ('a@x.y', 'eight@x.y', NULL),"
        " ('nine', 'a@x.y', NULL);"
        "ALTER TABLE users ENABLE TRIGGER words_added;"
        "INSERT INTO taken_words (user_id, word) SELECT id, word FROM users,"
        " other_words(username, email) AS word"
    )
    found = json.loads(slm("users", "check", "-p", population, "--json").stdout)
    reasons: dict[str, list[str]] = {}
    for each in found:
        reasons.setdefault(each["email"], []).append(each["reason"])
    assert reasons["one@x.y"] == ["The username would be sec."]
    assert "U+200B" in reasons["two@x.y"][0]
    assert "Before the @" in reasons["b\N{LATIN SMALL LETTER U WITH DIAERESIS}@x.y"][0]
    assert reasons["four@x.y"] == ["The username would be upper."]
    assert "display name" in reasons["five@x.y"][0]
    assert "one of the user nine" in reasons["eight@x.y"][0]
    assert set(reasons) == {
        *("one@x.y", "two@x.y", "b\N{LATIN SMALL LETTER U WITH DIAERESIS}@x.y", "four@x.y"),
        *("five@x.y", "eight@x.y"),
    }
    doctor = json.loads(slm("doctor", "--json").stdout)
    (check,) = (each for each in doctor if each["check"] == f"{population} names")
    assert (check["state"], check["found"][:7]) == ("warning", "1 users")


@pytest.mark.parametrize(
    "name", ["\N{HANGUL FILLER}", "a\N{BRAILLE PATTERN BLANK}b", "a\N{ZERO WIDTH SPACE}", "a\tb"]
)
async def test_no_name_holds_what_cannot_be_seen(
    admin: httpx2.AsyncClient, site: Site, path: str, name: str
) -> None:
    org_id = site.add_organization("acme")
    refused = [
        await create(admin, path, "marta", display_name=name),
        await admin.post("/api/autobot-teams", json={"name": name, "organization_id": str(org_id)}),
        await admin.post("/api/organizations", json={"name": name, "slug": "x"}),
        await admin.post(f"{path.removesuffix('-users')}-roles", json={"name": name}),
    ]
    for each in refused:
        assert each.status_code == 422, each.text
        (fault,) = each.json()["errors"]
        assert fault["pointer"] in ("/name", "/display_name")
        assert fault["detail"].startswith("A name cannot hold U+")


async def test_names_are_stored_composed_and_compared_as_people_read_them(
    admin: httpx2.AsyncClient, site: Site, path: str
) -> None:
    org_id = str(site.add_organization("acme"))
    paths = {
        "/api/autobot-teams": {"organization_id": org_id},
        f"{path.removesuffix('-users')}-roles": {},
    }
    for where, fields in paths.items():
        for first, second in (
            ("jose\N{COMBINING ACUTE ACCENT}", "JOSÉ"),
            ("Sec", FULLWIDTH_SEC),
            ("Stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE"),
            ("A B", "a\N{NO-BREAK SPACE}b"),
        ):
            made = await admin.post(where, json={"name": first, **fields})
            assert made.status_code == 201, made.text
            again = await admin.post(where, json={"name": second, **fields})
            assert again.status_code == 409, (where, second)
            other = await admin.post(where, json={"name": f"other {second}", **fields})
            assert other.status_code == 201, other.text
            key = f"{where}/{other.json()['id']}"
            renamed = await admin.patch(key, json={"name": second})
            assert renamed.status_code == 409, (where, second)
            # Its own name in other letters is its own.
            own = await admin.patch(f"{where}/{made.json()['id']}", json={"name": second})
            assert own.status_code == 200, own.text
        names = [each["name"] for each in (await admin.get(where)).json()[where.split("-")[-1]]]
        assert "jose\N{COMBINING ACUTE ACCENT}" not in names


async def test_an_old_name_may_stay(
    admin: httpx2.AsyncClient, site: Site, path: str, population: Population
) -> None:
    """Whoever changes something else is not asked for another name."""
    database = site.databases[population]
    hidden = "a\N{ZERO WIDTH SPACE}"
    database.sql(
        f"INSERT INTO users (username, email, display_name) VALUES ('old', 'old', '{hidden}')"
    )
    key = await id_of(admin, path, "old")
    body = {"email": "old", "display_name": hidden, "bio": "x"}
    changed = await admin.patch(f"{path}/{key}", json=body)
    assert (changed.status_code, changed.json()["bio"]) == (200, "x")


async def test_a_domain_in_other_letters(
    admin: httpx2.AsyncClient, site: Site, path: str, population: Population
) -> None:
    made = await create(admin, path, "marta", "Marta@Bücher.example")
    assert (made.status_code, made.json()["email"]) == (201, "marta@bücher.example")
    stored = "SELECT email FROM users WHERE username = 'marta'"
    assert site.databases[population].sql(stored) == "marta@xn--bcher-kva.example"
    again = await create(admin, path, "omar", "marta@xn--bcher-kva.example")
    assert again.status_code == 409
    same = await admin.patch(f"{path}/{made.json()['id']}", json={"email": "MARTA@bücher.example"})
    assert (same.status_code, same.headers["etag"]) == (200, made.headers["etag"])
    refused = await create(admin, path, "omar", "josé@example.org")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/email")
    assert "written without it" in refused.json()["detail"]


async def test_who_has_a_domain_in_other_letters_logs_in_with_it(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    await create(
        *(admin, "/api/slm-users", "marta", "marta@bücher.example"), password=site.password
    )
    for typed in ("marta@bücher.example", "Marta@BÜCHER.example", "marta@xn--bcher-kva.example"):
        headers = await site.login(typed)
        me = await site.client.get("/api/slm-auth/me", headers=headers)
        assert me.json()["email"] == "marta@bücher.example"
