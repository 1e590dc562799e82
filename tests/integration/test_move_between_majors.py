"""The move between servers of different major versions, each as others have built it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ansible_collections.autobot.users.plugins.module_utils.adoption import renaming
from tests.support.database_server import NEWEST, PostgresServer, postgresql_binaries
from tests.support.moving_site import PEOPLE, WRITE, Site, filled

OWN = int(postgresql_binaries().parent.name)
# What scripts/bootstrap fetches.
OTHERS = (16, NEWEST) if platform.machine() == "aarch64" else (14, 16, NEWEST)
PAIRS = sorted({(source, target) for source in (*OTHERS, OWN) for target in (OWN, NEWEST)})
# Two of one version are what test_move.py has.
FORWARD = [(source, target) for source, target in PAIRS if source < target]
# One of them is there whatever the distribution has.
BACK = sorted({(NEWEST, 16), *((source, target) for source, target in PAIRS if source > target)})

Servers = Callable[[int], PostgresServer]


@pytest.fixture(scope="module")
def servers(new_server: Callable[[], PostgresServer]) -> Iterator[Servers]:
    """Servers by their major version, which tests share."""
    made: dict[int, PostgresServer] = {}

    def server(major: int) -> PostgresServer:
        if major not in made:
            made[major] = new_server() if major == OWN else PostgresServer(major=major)
            made[major].start()
            made[major].provision_roles()
        return made[major]

    yield server
    for each in made.values():
        each.remove()


@pytest.fixture
def site(servers: Servers, request: pytest.FixtureRequest) -> Iterator[Site]:
    source, target = request.param
    with filled(servers(source), servers(target)) as made:
        yield made


def major(server: PostgresServer) -> int:
    return int(server.sql("SHOW server_version_num")) // 10000


def named(pairs: list[tuple[int, int]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("site", "majors"),
        [(pair, pair) for pair in pairs],
        indirect=["site"],
        ids=[f"{source}-{target}" for source, target in pairs],
    )


@named(FORWARD)
def test_everything_comes_and_all_that_was_changed_since_goes_back(
    site: Site, majors: tuple[int, int]
) -> None:
    assert (major(site.old), major(site.new)) == majors
    theirs, as_owner = {"database": "people"}, {"database": "autobot_users", "user": "slm_app"}
    assert site.move.look()["problems"] == []
    site.copied()
    site.write()
    site.old.sql(
        """
        DELETE FROM own.notes WHERE id = 1;
        INSERT INTO own.notes ("a ""strange"" name", at) VALUES (E'ü\\\\', 'infinity')
        """,
        user="slm_app",
        **theirs,
    )
    # What has changed since the copy is brought to it row by row, and compared.
    assert site.move.fence()["same"]
    with pytest.raises(AssertionError, match=r"nobody writes here|read-only"):
        site.write()
    site.switched()
    assert site.new.sql(PEOPLE, database="autobot_users") == site.old.sql(PEOPLE, **theirs)
    site.old.hang_up()
    here = replace(site.move.source, user="postgres")
    assert renaming.set_aside(here, "people", "kept")
    with pytest.raises(AssertionError, match="does not exist"):
        site.write()

    site.new.sql(f"{WRITE}; INSERT INTO own.notes (at) VALUES (now())", **as_owner)
    site.database.sql(
        "INSERT INTO users (email, username, password_hash) VALUES ('n@x.org', 'new', '$2b$12$n')"
    )
    wanted = site.new.sql(PEOPLE, database="autobot_users")
    site.new.hang_up()
    assert renaming.set_aside(here, "kept", "people")
    assert site.move.give_back()["changed"]
    assert site.old.sql(PEOPLE, **theirs) == wanted
    site.write()


@named(BACK)
def test_what_is_newer_is_refused_and_nothing_is_changed(
    site: Site, majors: tuple[int, int]
) -> None:
    assert (major(site.old), major(site.new)) == majors
    before = site.databases()
    (problem,) = site.move.look()["problems"]
    source, target = majors
    assert problem.startswith(
        f"The source is PostgreSQL {source}, newer than this server, which is {target}"
    )
    assert f"Upgrade this server to {source} or later first" in problem
    assert site.databases() == before
    site.write()
