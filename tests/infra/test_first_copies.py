"""Each host still has what it was like before its first deployment."""

from __future__ import annotations

import json

import pytest

from tests.lab.site import HOSTS, must, on

BEFORE = "/var/lib/autobot-before"


@pytest.mark.parametrize("name", HOSTS)
def test_what_was_there_is_kept_and_what_was_not_is_said(name: str) -> None:
    said = json.loads(must(name, "cat", f"{BEFORE}/manifest.json"))
    assert said["paths"]["/etc/ssh/sshd_config.d"] == "kept"
    kept = f"{BEFORE}/files/etc/ssh/sshd_config.d/lab.conf"
    assert must(name, "cat", kept) == must(name, "cat", "/etc/ssh/sshd_config.d/lab.conf")
    # The lab's hosts had nothing of these.
    nothing = {"slm": "/etc/nginx", "backend": "/etc/nginx", "redis": "/etc/postgresql"}[name]
    assert said["paths"][nothing] == "absent"
    assert "nginx.service" not in must(name, "cat", f"{BEFORE}/running/units")
    assert on(name, "ls", BEFORE, user="autobot").status != 0
