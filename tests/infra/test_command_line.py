"""The command `slm` on the host, as an operator has it."""

from __future__ import annotations

import json

from tests.lab.site import must, on, superuser, unique


def test_doctor_finds_nothing_to_mend() -> None:
    done = on("slm", "slm", "doctor", "--json")
    checks = {check["check"]: check for check in json.loads(done.stdout)}
    # The one-time passwords of the first administrators may not have been used yet.
    wrong = {
        name: check
        for name, check in checks.items()
        if check["state"] != "ok" and not name.endswith("administrators")
    }
    assert (done.status, wrong) == (0, {})
    assert checks["HTTPS certificate"]["found"].startswith("until ")
    assert checks["autobot encryption"]["found"] == "TLS, name verified"


def test_a_user_from_the_command_line_is_in_the_database_of_the_other_host() -> None:
    name = unique()
    where = ("-p", "autobot", "--username", name, "--email", f"{name}@autobot.local")
    must("slm", "slm", "users", "create", *where, "--password-stdin", stdin="granite-otter-52\n")
    found = superuser(
        "redis", "autobot_users", f"SELECT email FROM users WHERE username = '{name}'"
    )
    assert found == [[f"{name}@autobot.local"]]
    shown = json.loads(must("slm", "slm", "users", "show", "-p", "autobot", name, "--json"))
    assert (shown["username"], shown["is_active"]) == (name, True)


def test_the_audit_logs_are_sealed_and_intact() -> None:
    report = json.loads(must("slm", "slm", "audit", "verify", "--json"))
    for population in ("slm", "autobot"):
        assert report[population]["intact"], report[population]
        assert report[population]["head"]["seq"] > 0


def test_an_export_is_read_again_by_an_import() -> None:
    exported = must("slm", "slm", "export", "-p", "autobot", "--format", "ndjson", "--with-hashes")
    again = must(
        "slm", "slm", "import", "-p", "autobot", "--from", "ndjson", "-", "--json", stdin=exported
    )
    outcomes = [json.loads(line) for line in again.splitlines()]
    assert len(outcomes) > len(exported.splitlines()) - 1
    assert not any(outcome.get("outcome") == "created" for outcome in outcomes)


def test_the_shell_completes_the_command() -> None:
    completed = must(
        "slm",
        *("bash", "-c"),
        "source /usr/share/bash-completion/completions/slm;"
        ' COMP_WORDS=(slm aud) COMP_CWORD=1; _slm_completion; echo "${COMPREPLY[@]}"',
    )
    assert completed.split() == ["audit"]


def test_a_command_that_is_interrupted_is_over() -> None:
    # It waits for rows from a pipe that nobody writes to.
    waits = (
        "pipe=$(mktemp -u) && mkfifo $pipe && exec 4<>$pipe && rm $pipe;"
        "timeout --preserve-status --signal=TERM 5 slm import -p slm --from csv - <&4"
    )
    assert on("slm", "sh", "-c", waits).status == 143
    units = must("slm", "systemctl", "list-units", "--all", "--no-legend", "slm-command-*")
    assert units == ""
