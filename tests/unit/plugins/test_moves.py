"""AutoBot's users on another host: what the survey reads of who uses them, and what is proposed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.autobot.users.plugins.module_utils.survey import programs
from ansible_collections.autobot.users.plugins.plugin_utils.assessment import (
    Conflict,
    Host,
    conflicts,
    proposal,
)
from tests.support.surveys import BACKEND, SLM, lived_in_site

FILE = """\
# Of AutoBot's backend.
AUTOBOT_POSTGRES_HOST=172.16.168.19
AUTOBOT_POSTGRES_DB="autobot_users"
AUTOBOT_POSTGRES_USER=slm_app
AUTOBOT_POSTGRES_PASSWORD='never said'
export USERS_URL=postgresql+asyncpg://slm_app:never%20said@127.0.0.1:5433/slm_users
REDIS_HOST=172.16.168.23
BROKEN_HOST=$(hostname)
BROKEN_DB=people
URL=postgresql://[broken
"""
SHOWN = """\
Id=autobot-backend.service
EnvironmentFiles=/etc/autobot/backend.env (ignore_errors=no)
EnvironmentFiles=/etc/autobot/more.env (ignore_errors=yes)

Id=celery.service
EnvironmentFiles=/etc/autobot/backend.env (ignore_errors=yes)
"""
USE = {
    "file": "/etc/autobot/backend.env",
    "variables": {"AUTOBOT_POSTGRES_HOST": "host", "AUTOBOT_POSTGRES_DB": "database"},
    "host": SLM,
    "port": 5432,
    "database": "autobot_users",
    "user": "slm_app",
    "password": "AUTOBOT_POSTGRES_PASSWORD",
    "units": ["autobot-backend.service"],
}


def test_programs_are_read_without_their_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc/autobot").mkdir(parents=True)
    (tmp_path / "etc/autobot/backend.env").write_text(FILE)
    monkeypatch.setattr(programs, "output", lambda *_: SHOWN)
    found = programs.read_programs(tmp_path, [{"name": "autobot-backend.service"}])
    url, parts = found
    assert parts == {**USE, "units": ["autobot-backend.service", "celery.service"]}
    assert (url["variables"], url["host"], url["port"]) == ({"USERS_URL": "url"}, "127.0.0.1", 5433)
    assert (url["database"], url["user"], url["password"]) == ("slm_users", "slm_app", "")
    assert "never" not in str(found)


def site(**changes: Any) -> list[Host]:
    """The lived-in site, whose backend says where it has its users."""
    slm, redis, backend = lived_in_site()
    (store,) = (it for it in slm.survey["stores"] if it["database"] == "autobot_users")
    store["owners"] = ["slm_app"]
    backend.survey["programs"] = [USE]
    return [slm, replace(redis, **changes), backend]


def of_users(hosts: list[Host]) -> list[str]:
    return [it.what for it in conflicts(hosts) if it.kind == "users"]


def test_the_move_is_proposed_with_who_is_told() -> None:
    hosts = site()
    assert of_users(hosts) == ["12 users of AutoBot's are in the database autobot_users of slm."]
    said = yaml.safe_load(proposal(hosts, conflicts(hosts))["host_vars/redis.yml"])
    assert said["adoption_source"] == {
        "address": SLM,
        "port": 5432,
        "database": "autobot_users",
        "user": "slm_app",
        "secret": {
            "host": "backend",
            "file": "/etc/autobot/backend.env",
            "variable": "AUTOBOT_POSTGRES_PASSWORD",
        },
    }
    (service,) = said["adoption_services"]
    assert (service["host"], service["units"]) == ("backend", ["autobot-backend.service"])
    assert service["variables"] == USE["variables"]


@pytest.mark.parametrize("answer", [{}, {"address": SLM, "database": "autobot_users"}])
def test_whatever_the_inventory_says_is_the_answer(answer: dict[str, Any]) -> None:
    assert of_users(site(adoption=answer)) == []


def test_a_program_of_the_host_itself_says_localhost() -> None:
    hosts = site()
    hosts[0].survey["programs"] = [{**USE, "host": "127.0.0.1"}]
    hosts[2].survey["programs"] = [{**USE, "host": "127.0.0.1"}, {**USE, "host": BACKEND}]
    said = yaml.safe_load(proposal(hosts, conflicts(hosts))["host_vars/redis.yml"])
    assert [it["host"] for it in said["adoption_services"]] == ["slm"]


def test_where_nobody_is_or_ours_is_in_use_there_is_nothing_to_move() -> None:
    for number, schema in ((0, "upstream"), (12, "ours")):
        hosts = site()
        (store,) = (it for it in hosts[0].survey["stores"] if it["database"] == "autobot_users")
        store["users"] = number
        if schema == "ours":
            hosts[1].survey["postgresql"] = [
                {**hosts[0].survey["postgresql"][0], "version": "17", "databases": []}
            ]
            hosts[1].survey["stores"] = [{**store, "cluster": "17/main", "owners": []}]
        assert of_users(hosts) == []


def of_age(hosts: list[Host]) -> list[Conflict]:
    return [it for it in conflicts(hosts) if "pg_dump" in it.why]


def newer(found: list[dict[str, Any]] | None = None, **changes: Any) -> list[Host]:
    """Its users are on PostgreSQL 18, and ours would be 17, or is what was found."""
    hosts = site(**changes)
    (theirs,) = hosts[0].survey["postgresql"]
    hosts[0].survey["postgresql"] = [{**theirs, "version": "18"}]
    for store in hosts[0].survey["stores"]:
        store["cluster"] = "18/main"
    hosts[1].survey["postgresql"] = found or []
    return hosts


SOURCE = {"address": SLM, "database": "autobot_users"}


@pytest.mark.parametrize("answer", [None, SOURCE])
def test_a_newer_source_is_known_before_ours_is_set_up(answer: dict[str, Any] | None) -> None:
    hosts = newer(adoption=answer)
    (said,) = of_age(hosts)
    assert said.what == (
        "AutoBot's users are in the cluster 18/main of slm, and PostgreSQL here would be 17."
    )
    proposed = yaml.safe_load(proposal(hosts, conflicts(hosts))["host_vars/redis.yml"])
    assert (proposed["postgresql_source"], proposed["postgresql_version"]) == ("pgdg", 18)


def test_a_cluster_that_is_there_is_to_be_upgraded() -> None:
    (ours,) = site()[0].survey["postgresql"]
    (said,) = of_age(newer([{**ours, "version": "17", "databases": []}]))
    assert said.what.endswith("and PostgreSQL here is the cluster 17/main.")
    assert "Upgrade that to 18 or later with pg_upgradecluster" in said.answer
    assert said.entries == ()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {**SOURCE, "port": 5433},
        # It was moved, and what is kept of it has another name.
        {**SOURCE, "database": "people"},
    ],
)
def test_a_newer_server_from_which_nobody_comes_is_in_nobodys_way(answer: dict[str, Any]) -> None:
    assert of_age(newer(adoption=answer)) == []


def test_an_older_server_and_one_as_old_can_be_moved() -> None:
    assert of_age(site()) == []
    (theirs,) = site()[0].survey["postgresql"]
    assert of_age(newer([{**theirs, "version": "18", "databases": []}])) == []
