"""Whether SSH lets passwords in: only if it is said, and nobody is locked out by it."""

import pytest
import yaml

from tests.support.role_files import ROOT, render, role_vars

FILE = "etc/ssh/sshd_config.d/00-autobot-logins.conf"


@pytest.mark.parametrize(
    ("logins", "said"),
    [
        ("keys_only", ["PasswordAuthentication no", "KbdInteractiveAuthentication no"]),
        # The host's own configuration says it.
        ("as_found", []),
    ],
)
def test_passwords_are_refused_where_that_is_asked_for(logins: str, said: list[str]) -> None:
    text = render("base", f"{FILE}.j2", base_ssh_logins=logins)
    assert [line for line in text.splitlines() if not line.startswith("#")] == said


@pytest.mark.parametrize(
    ("lines", "accepted"),
    [
        (["passwordauthentication no", "kbdinteractiveauthentication no"], False),
        (["passwordauthentication yes", "kbdinteractiveauthentication no"], True),
        (["passwordauthentication no", "kbdinteractiveauthentication yes"], True),
        (["kerberosorlocalpasswd yes", "pubkeyauthentication yes"], False),
    ],
)
def test_each_way_in_with_a_password_counts(lines: list[str], accepted: bool) -> None:
    values = role_vars("base", base_sshd={"stdout_lines": lines})
    assert values("base_sshd_passwords") is accepted


def test_who_runs_comes_in_without_a_password_before_they_are_refused() -> None:
    tasks = yaml.safe_load((ROOT / "roles/base/tasks/ssh.yml").read_text())
    asked, tried, stop, write, loaded = tasks
    # As whoever comes in from elsewhere: what is said for some only counts too.
    assert asked["ansible.builtin.command"]["argv"] == [
        *("/usr/sbin/sshd", "-T", "-C", "user=root,host=localhost,addr=127.0.0.1"),
    ]
    connection = tried["vars"]["ansible_ssh_extra_args"].split("-o ")[1:]
    assert {option.strip() for option in connection} == {
        "PreferredAuthentications=publickey",
        "PasswordAuthentication=no",
        "KbdInteractiveAuthentication=no",
        # A connection that is there proves nothing.
        "ControlPath=none",
    }
    assert tried["become"] is False
    assert tried["check_mode"] is False
    assert tried["ignore_unreachable"] is True
    assert tried["when"] == "base_ssh_logins == 'keys_only' and base_sshd_passwords"
    assert stop["ansible.builtin.assert"]["that"] == "base_key is skipped or base_key is reachable"
    # The first word that sshd reads is the last: its name comes before those of others.
    assert write["autobot.users.host_files"]["files"][0]["path"] == f"/{FILE}"
    assert loaded["autobot.users.units_in_force"]["units"][0]["inputs"] == [f"/{FILE}"]
