"""What the role postgresql writes to a host, and what it makes of passwords."""

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.autobot.users.plugins.module_utils.survey.databases import MANAGED, TABLES
from tests.support.role_files import ROOT, load_plugin, render, role_vars
from tests.support.role_play import play_roles

RFC_7677 = {
    "password": "pencil",
    "salt": "W22ZaJ0SNY7soEsUEjb6gQ==",
    "messages": "n=user,r=rOprNGfwEbeRWgbNEkqO,"
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    "client_proof": "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    "server_signature": "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
}


@pytest.fixture(scope="module")
def filters() -> Any:
    return load_plugin("filter.postgresql")


def access(*lines: dict[str, Any]) -> list[list[str]]:
    """The lines of pg_hba.conf in their order, as words."""
    site, others = list(lines[:1]), list(lines[1:])
    text = render(
        "postgresql",
        "etc/postgresql/pg_hba.conf.j2",
        postgresql_hba_services=site,
        postgresql_hba=others,
    )
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def line(*addresses: str, database: str = "people", role: str = "service") -> dict[str, Any]:
    return {"database": database, "role": role, "addresses": list(addresses)}


def settings(**variables: Any) -> dict[str, str]:
    text = render(
        "postgresql",
        "etc/postgresql/50-autobot.conf.j2",
        **{
            "postgresql_listen_addresses": ["127.0.0.1"],
            "postgresql_tls_certificate": "/tls/server.crt",
            "postgresql_tls_key": "/tls/server.key",
            "postgresql_memory_mb": 2048,
            "postgresql_version": 17,
            "postgresql_max_connections": 100,
            "postgresql_reserved_superuser": 10,
            "postgresql_reserved_owner": 5,
            "postgresql_settings": {},
            **variables,
        },
    )
    pairs = (entry.partition(" = ") for entry in text.splitlines() if " = " in entry)
    return {name: value for name, _, value in pairs}


def database(*roles: dict[str, Any], name: str = "people") -> dict[str, Any]:
    return {"name": name, "owner": "owner", "roles": list(roles)}


def problems(**variables: Any) -> list[str]:
    """What the role refuses before it does anything."""
    loader = DataLoader()
    own = [
        loader.load_from_file(
            str(ROOT / f"roles/postgresql/{part}/main.yml"), trusted_as_template=True
        )
        for part in ("defaults", "vars")
    ]
    given: dict[str, Any] = {
        "ansible_facts": {"distribution": "Debian", "distribution_major_version": "13"},
        "postgresql_databases": [database({"name": "owner", "connection_limit": 5})],
        "postgresql_passwords": {"owner": "secret"},
    }
    templar = Templar(loader, variables={**own[0], **own[1], **given, **variables})
    found: list[str] = templar.template(trust_as_template("{{ postgresql_problems }}"))
    return found


def test_nobody_comes_in_over_the_network_when_nothing_is_listed() -> None:
    assert access() == [
        ["local", "all", "postgres", "peer"],
        ["local", "all", "all", "reject"],
        ["host", "all", "postgres", "all", "reject"],
        ["host", "all", "all", "all", "reject"],
    ]


def test_listed_lines_stand_between_the_superuser_and_the_final_reject() -> None:
    lines = access(line("192.0.2.19"), line("192.0.2.20", role="reader"))
    assert lines[2] == ["host", "all", "postgres", "all", "reject"]
    assert lines[3:] == [
        ["hostssl", '"people"', '"service"', "192.0.2.19/32", "scram-sha-256"],
        ["hostssl", '"people"', '"reader"', "192.0.2.20/32", "scram-sha-256"],
        ["host", "all", "all", "all", "reject"],
    ]


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("2001:db8::/64", "2001:db8::/64"),
    ],
)
def test_an_address_alone_means_that_address(address: str, written: str) -> None:
    assert access(line(address))[3][3] == written


def test_a_keyword_as_a_name_means_the_name() -> None:
    assert access(line("192.0.2.1", database="all", role="all"))[3][1:3] == ['"all"', '"all"']


def test_a_line_has_one_entry_for_each_of_its_addresses() -> None:
    assert [entry[3] for entry in access(line("192.0.2.1", "192.0.2.2"))[3:-1]] == [
        "192.0.2.1/32",
        "192.0.2.2/32",
    ]


def test_the_server_listens_where_the_inventory_says() -> None:
    written = settings(postgresql_listen_addresses=["127.0.0.1", "192.0.2.23"])
    assert written["listen_addresses"] == "'127.0.0.1, 192.0.2.23'"


def test_connections_are_encrypted_and_passwords_are_scram() -> None:
    written = settings()
    assert written["ssl"] == "on"
    assert written["ssl_cert_file"] == "'/tls/server.crt'"
    assert written["ssl_key_file"] == "'/tls/server.key'"
    assert written["ssl_min_protocol_version"] == "'TLSv1.2'"
    assert written["password_encryption"] == "'scram-sha-256'"


def test_who_comes_what_takes_long_and_what_waits_is_in_the_log() -> None:
    written = settings()
    assert {name: value for name, value in written.items() if name.startswith("log_")} == {
        "log_connections": "on",
        # When, which process, whose, of which database, from where: what an incident asks first.
        "log_line_prefix": "'%m [%p] %q%u@%d %h '",
        "log_min_duration_statement": "500ms",
        "log_lock_waits": "on",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
    }


def test_a_client_that_vanished_is_noticed_in_two_minutes() -> None:
    written = settings()
    idle, interval, count = (
        int(written[f"tcp_keepalives_{name}"]) for name in ("idle", "interval", "count")
    )
    assert 0 < idle + interval * count <= 120
    # Also while its statement is at work.
    assert written["client_connection_check_interval"] == "10s"


def test_nothing_else_differs_from_the_distributions_defaults() -> None:
    assert settings().keys() == {
        *("listen_addresses", "port", "authentication_timeout", "password_encryption"),
        *("ssl", "ssl_cert_file", "ssl_key_file", "ssl_min_protocol_version"),
        *("max_connections", "superuser_reserved_connections", "reserved_connections"),
        *("shared_buffers", "effective_cache_size", "maintenance_work_mem", "work_mem"),
        *("log_connections", "log_line_prefix", "log_min_duration_statement", "log_lock_waits"),
        *("log_parameter_max_length", "log_parameter_max_length_on_error"),
        *("idle_in_transaction_session_timeout", "client_connection_check_interval"),
        *("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"),
    }
    assert settings()["port"] == "5432"


def test_a_cluster_has_checksums_and_the_same_locale_on_every_host() -> None:
    file = ROOT / "roles/postgresql/files/etc/postgresql-common/createcluster.d/50-autobot.conf"
    (said,) = (line for line in file.read_text().splitlines() if not line.startswith("#"))
    assert said == "initdb_options = '--data-checksums --encoding=UTF8 --locale=C.UTF-8'"


@pytest.mark.parametrize("version", [15, 16, 17])
def test_who_does_not_log_in_leaves_slots_for_the_operator(version: int) -> None:
    written = settings(postgresql_version=version, postgresql_max_connections=158)
    assert written["max_connections"] == "158"
    assert written["superuser_reserved_connections"] == "10"
    assert written.get("reserved_connections") == ("5" if version >= 16 else None)
    assert written["authentication_timeout"] == "5s"


def test_a_transaction_that_nobody_goes_on_with_is_ended() -> None:
    assert settings()["idle_in_transaction_session_timeout"] == "2min"
    for name in ("slm", "autobot"):
        group = yaml.safe_load((ROOT / f"playbooks/group_vars/{name}_database.yml").read_text())
        database = group[f"postgresql_of_{name}_users"]
        ended = {
            role["name"]: role["settings"]["idle_in_transaction_session_timeout"]
            for role in database["roles"]
            if role.get("login", True)
        }
        owner = ended.pop(database["owner"])
        assert (owner, set(ended.values())) == ("10min", {"30s"})


@pytest.mark.parametrize(
    ("limits", "accepted"), [([5, 79], True), ([5, 80], False), ([5, -1], False)]
)
def test_the_roles_together_never_have_all_slots(limits: list[int], accepted: bool) -> None:
    names = ["owner", "service"]
    roles = [
        {"name": name, "connection_limit": limit} for name, limit in zip(names, limits, strict=True)
    ]
    found = problems(
        postgresql_databases=[database(*roles)], postgresql_passwords=dict.fromkeys(names, "secret")
    )
    assert (found == []) is accepted, found
    if not accepted:
        assert (
            f"are {limits[0]}, {limits[1]}; allowed are 0 and more, together less than 85"
            in found[0]
        )


def test_the_log_never_holds_the_values_of_a_statement() -> None:
    written = settings()
    assert written["log_parameter_max_length"] == "0"
    assert written["log_parameter_max_length_on_error"] == "0"


def test_further_settings_are_quoted_as_the_server_reads_them() -> None:
    written = settings(postgresql_settings={"archive_mode": "on", "archive_command": "it's %p"})
    assert written["archive_mode"] == "'on'"
    assert written["archive_command"] == "'it''s %p'"


@pytest.mark.parametrize(
    ("memory", "shared_buffers", "maintenance", "work"),
    [
        (128, "64MB", "16MB", "4MB"),
        (2048, "1024MB", "128MB", "8MB"),
        (65536, "32768MB", "1024MB", "64MB"),
    ],
)
def test_memory_follows_the_budget_within_bounds(
    memory: int, shared_buffers: str, maintenance: str, work: str
) -> None:
    written = settings(postgresql_memory_mb=memory)
    assert written["shared_buffers"] == shared_buffers
    assert written["effective_cache_size"] == f"{memory}MB"
    assert written["maintenance_work_mem"] == maintenance
    assert written["work_mem"] == work


def test_the_trial_can_be_passed_as_an_argument() -> None:
    """Ansible puts the file's path in place of the only %s, and would trip over another %."""
    script: Path = ROOT / "roles" / "postgresql" / "files" / "try_configuration.sh"
    assert "%" not in script.read_text()


def test_a_verifier_answers_the_exchange_of_the_rfc(filters: Any) -> None:
    verifier = filters.verifier(RFC_7677["password"], base64.b64decode(RFC_7677["salt"]))
    head, salt, keys = verifier.split("$")
    assert head == "SCRAM-SHA-256"
    assert salt == f"4096:{RFC_7677['salt']}"
    stored_key, server_key = map(base64.b64decode, keys.split(":"))
    messages = RFC_7677["messages"].encode()
    assert (
        base64.b64encode(hmac.digest(server_key, messages, "sha256")).decode()
        == RFC_7677["server_signature"]
    )
    signature = hmac.digest(stored_key, messages, "sha256")
    proof = base64.b64decode(RFC_7677["client_proof"])
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored_key


def test_verifiers_are_the_same_in_every_run_and_differ_between_roles_and_hosts(
    filters: Any,
) -> None:
    passwords = {"one": "same password", "two": "same password"}
    here, again, there = (
        filters.scram_verifiers(passwords, host, list(passwords)) for host in ("a", "a", "b")
    )
    assert here == again
    assert len({*here.values(), *there.values()}) == 4


def test_a_host_has_verifiers_of_its_own_roles_that_log_in(filters: Any) -> None:
    passwords = {"one": "same password", "two": "same password"}
    assert list(filters.scram_verifiers(passwords, "a", ["two", "without"])) == ["two"]


def test_a_role_that_two_databases_have_is_one_role_with_the_rights_of_both(filters: Any) -> None:
    databases = [
        database(
            {"name": "owner", "connection_limit": 5},
            {"name": "service", "connection_limit": 40, "settings": {"a": "1"}},
        ),
        database(
            {"name": "service", "connection_limit": "40", "bypass_rls": True, "members": ["owner"]},
            {"name": "tenant", "connection_limit": 0, "login": False, "settings": {"b": "2"}},
            name="others",
        ),
    ]
    owner, service, tenant = filters.cluster_roles(databases)
    nothing = {"members": [], "settings": {}, "bypass_rls": False, "advisory_locks": False}
    assert owner == {"name": "owner", "connection_limit": 5, "login": True, **nothing}
    assert service == {
        **nothing,
        **{"name": "service", "connection_limit": 80, "login": True, "bypass_rls": True},
        **{"members": ["owner"], "settings": {"a": "1"}},
    }
    assert tenant == {
        **nothing,
        **{"name": "tenant", "connection_limit": 0, "login": False, "settings": {"b": "2"}},
    }
    assert filters.cluster_roles(databases, "people") == [owner, service]
    assert filters.cluster_roles(databases, "others") == [service, tenant]


def test_an_owner_is_a_role_of_its_database() -> None:
    found = problems(
        postgresql_databases=[database({"name": "reader", "connection_limit": 5})],
        postgresql_passwords={"reader": "secret"},
    )
    assert found == [
        "The owner of a database in postgresql_databases is owner; allowed is one of its roles: "
        "reader."
    ]


@pytest.mark.parametrize("password", ["", "gehéim", "line\nbreak", "nul\0"])
def test_a_password_that_would_need_saslprep_is_refused_by_name(
    filters: Any, password: str
) -> None:
    with pytest.raises(AnsibleFilterError, match="redis/service must be printable ASCII") as raised:
        filters.scram_verifiers({"service": password}, "redis", ["service"])
    assert not password or password not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("plain", "'plain'"),
        ("it's", r"'it\'s'"),
        ("back\\slash", r"'back\\slash'"),
        ("two\nlines", r"'two\nlines'"),
    ],
)
def test_psql_reads_a_quoted_value_as_it_was(filters: Any, value: str, quoted: str) -> None:
    assert filters.psql_quote(value) == quoted


def test_the_tables_that_change_hands_are_those_that_the_survey_knows_as_autobots() -> None:
    adopted = role_vars("postgresql")("postgresql_adopted_tables")
    assert sorted(adopted) == sorted(TABLES[MANAGED])


DATABASES = """
- name: Bring databases to what is wanted
  hosts: all
  gather_facts: false
  tasks:
    - name: Bring them
      ansible.builtin.include_role: {name: postgresql, tasks_from: databases}
      vars:
        # Refuses the second of both databases.
        postgresql_psql: [sh, -c, "if grep -q others; then echo refused >&2; exit 3; fi", sh]
"""


def test_what_postgresql_refuses_is_said_without_a_verifier(tmp_path: Path) -> None:
    roles = [{"name": "owner", "connection_limit": 5}]
    done = play_roles(
        tmp_path,
        DATABASES,
        ["here"],
        {
            "postgresql_databases": [database(*roles), database(*roles, name="others")],
            "postgresql_passwords": {"owner": "secret"},
            "postgresql_adopt_from": "",
            "ansible_facts": {"distribution": "Debian", "distribution_major_version": "13"},
            "postgresql_version": 17,
        },
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "PostgreSQL on here: refused" in said
    assert "SCRAM" not in said
