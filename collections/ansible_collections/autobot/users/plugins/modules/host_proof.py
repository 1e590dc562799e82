#!/usr/bin/python
"""Check from one host that what must work works and what must be refused is refused."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.autobot.users.plugins.module_utils.proof import (
    SERVER,
    judge_chains,
    judge_login,
    judge_response,
    judge_script,
    judge_server,
    page_scripts,
    server_name,
    takes_passwords,
)

DOCUMENTATION = """
module: host_proof
short_description: proof that a host does what it must and refuses what it must
description:
  - Runs all checks at once, changes nothing, and fails when one of them fails. Every failed check
    says what was found and what to do.
options:
  ca:
    description: File with the CA that every TLS connection must be signed by.
    type: path
    required: true
  deadline:
    description: Seconds after which a connection that is not answered counts as refused.
    type: int
    default: 2
  minimum_days:
    description: Days for which a certificate must still be valid.
    type: int
    default: 14
  firewall:
    description: >-
      Check that the site's firewall drops what no rule accepts (V(own)), or is there and judges its
      own ports (V(additive)); with V(none) it is not looked at.
    type: str
    choices: [own, additive, none]
    default: own
  ssh_logins:
    description: What becomes of password logins over SSH.
    type: str
    choices: [keys_only, as_found]
  server:
    description: Check the PostgreSQL server of this host from the inside, in this database.
    type: str
  server_roles:
    description: Roles of the site in it, whose passwords must be stored as SCRAM-SHA-256.
    type: list
    elements: str
    default: []
  logins:
    description: "Logins to try: C(name), C(host), C(database), C(user), C(tls) (V(verify-full) or
      V(disable)), C(expect) (V(accepted), V(refused), V(unreachable), or V(kept_out): one of the
      latter two)."
    type: list
    elements: dict
    default: []
  requests:
    description: "Requests to try: C(name), C(url), C(status), C(location); C(page) for a page whose
      scripts must be served too."
    type: list
    elements: dict
    default: []
  certificates:
    description: "Certificates to look at as they are served: C(name), C(host), C(port),
      C(postgresql)."
    type: list
    elements: dict
    default: []
  passwords:
    description: Role to password, for the logins.
    type: dict
    default: {}
"""

RETURN = """
checks:
  description: One per check, with C(name), C(ok) and C(detail).
  type: list
  elements: dict
  returned: always
facts:
  description: What the summary shows, such as versions and the certificates' last day.
  type: dict
  returned: always
"""

PSQL = ["psql", "--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--command"]


FIREWALLS = {
    "own": "firewall drops what no rule accepts",
    "additive": "firewall judges the site's ports, and leaves others to the host's",
}
SSH_KEYS = "SSH takes keys, no passwords"
SSH_PASSWORDS = "SSH takes passwords too, as it was found"
# With its path, as it demands.
SSHD = ["/usr/sbin/sshd", "-T", "-C", "user=root,host=localhost,addr=127.0.0.1"]
SERVER_QUERY = """
SELECT json_build_object(
  'version', current_setting('server_version'),
  'ssl', current_setting('ssl'),
  'data_checksums', current_setting('data_checksums'),
  'hba_errors', (SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL),
  'file_errors', (SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL),
  'pending_restart', (SELECT coalesce(string_agg(name, ', '), '')
                      FROM pg_settings WHERE pending_restart),
  'weak_verifiers', (SELECT coalesce(json_agg(rolname ORDER BY rolname), '[]') FROM pg_authid
                     WHERE rolcanlogin AND rolpassword NOT LIKE 'SCRAM-SHA-256$%'),
  'archive', (SELECT CASE
      WHEN current_setting('archive_mode') = 'off' THEN 'archive_mode is off'
      WHEN current_setting('archive_command') IN ('', '(disabled)')
          AND current_setting('archive_library') = '' THEN 'archive_command is empty'
      -- What the archiver does last before the server stops is counted nowhere.
      WHEN last_failed_time > coalesce(last_archived_time, '-infinity')
          AND last_failed_wal || '.ready' IN (SELECT name FROM pg_ls_archive_statusdir())
      THEN format('%s could not be archived at %s', last_failed_wal, last_failed_time) END
    FROM pg_stat_archiver))
"""


class Check(NamedTuple):
    """The outcome of one check. `detail` says what to do when it is not ok."""

    name: str
    ok: bool
    detail: str = ""
    facts: dict[str, Any] = {}  # noqa: RUF012 - never changed


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in an environment of its own; its messages are in English."""
    return subprocess.run(  # noqa: S603 - the arguments are this module's own
        command,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def words(done: subprocess.CompletedProcess[str]) -> str:
    """What a program that failed says, never nothing."""
    return done.stderr.strip() or f"{done.args[0]} ended with {done.returncode}"


class Prover:
    """The checks of one host."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._parameters = parameters
        self._deadline: int = parameters["deadline"]

    def run(self) -> list[Check]:
        """All checks, side by side, in the order in which they are given."""
        parameters = self._parameters
        checks: list[tuple[str, Callable[[], Check]]] = []
        if parameters["firewall"] in FIREWALLS:
            checks.append((FIREWALLS[parameters["firewall"]], self.firewall))
        if parameters["ssh_logins"]:
            checks.append((SSH_KEYS, self.ssh))
        if parameters["server"]:
            checks.append((SERVER, self.server))
        for kind in (self.login, self.request, self.certificate):
            given = parameters[f"{kind.__name__}s"]
            checks += [(item["name"], partial(kind, item)) for item in given]
        with ThreadPoolExecutor(max_workers=8) as pool:
            return list(pool.map(lambda check: self._guarded(*check), checks))

    @staticmethod
    def _guarded(name: str, check: Callable[[], Check]) -> Check:
        """A check that cannot be made has failed; the others still count."""
        try:
            return check()
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            said = f": {error}" if str(error) else ""
            return Check(name, False, f"{type(error).__name__}{said}")

    def firewall(self) -> Check:
        mode = self._parameters["firewall"]
        listed = run(["nft", "--json", "list", "chains"], {})
        if listed.returncode:
            return Check(FIREWALLS[mode], False, words(listed))
        fault = judge_chains(json.loads(listed.stdout), mode)
        return Check(FIREWALLS[mode], not fault, fault)

    def ssh(self) -> Check:
        found = run(SSHD, {})
        if found.returncode:
            return Check(SSH_KEYS, False, found.stderr.strip())
        if not takes_passwords(found.stdout):
            return Check(SSH_KEYS, True)
        if self._parameters["ssh_logins"] == "as_found":
            return Check(SSH_PASSWORDS, True)
        return Check(
            SSH_KEYS,
            False,
            "sshd lets passwords in. Another file of its configuration says so, before ours: "
            "run grep -ri PasswordAuthentication /etc/ssh",
        )

    def server(self) -> Check:
        found = run(
            ["runuser", "-u", "postgres", "--", *PSQL, SERVER_QUERY],
            {"PGDATABASE": self._parameters["server"]},
        )
        if found.returncode:
            return Check(SERVER, False, words(found))
        state = json.loads(found.stdout)
        fault = judge_server(state, self._parameters["server_roles"])
        facts = {"postgresql": state["version"].split()[0]}
        return Check(server_name(state), not fault, fault, facts)

    def login(self, login: dict[str, Any]) -> Check:
        password = self._parameters["passwords"].get(login["user"], "none")
        with tempfile.TemporaryDirectory() as directory:
            # A file that only this process's user can read: no argument, no environment.
            passfile = Path(directory) / "passfile"
            passfile.touch(mode=0o600)
            passfile.write_text(f"*:*:*:*:{password}\n")
            found = run(
                [*PSQL, "SELECT 1"],
                {
                    "PGPASSFILE": str(passfile),
                    "PGHOST": login["host"],
                    "PGDATABASE": login["database"],
                    "PGUSER": login["user"],
                    "PGSSLMODE": login["tls"],
                    "PGSSLROOTCERT": self._parameters["ca"],
                    "PGCONNECT_TIMEOUT": str(self._deadline),
                },
            )
        fault = judge_login(login["expect"], found.returncode, found.stderr)
        return Check(login["name"], not fault, fault)

    def request(self, request: dict[str, Any]) -> Check:
        status, headers, body = self._get(request["url"])
        fault = judge_response(request, status, headers, body)
        scripts = page_scripts(body) if request.get("page") and not fault else []
        for path in scripts:
            status, headers, _ = self._get(urljoin(request["url"], path))
            fault = fault or judge_script(path, status, headers)
        return Check(request["name"], not fault, fault)

    def _get(self, address: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers with names in lower case, and the beginning of the body."""
        url = urlsplit(address)
        if url.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                str(url.hostname), url.port, timeout=10, context=self._context()
            )
        else:
            connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=10)
        try:
            connection.request("GET", url.path)
            response = connection.getresponse()
            body = response.read(65536)
        finally:
            connection.close()
        return response.status, {n.lower(): value for n, value in response.getheaders()}, body

    def certificate(self, served: dict[str, Any]) -> Check:
        """The certificate that is served, verified like a client does, not the file."""
        with socket.create_connection((served["host"], served["port"]), timeout=10) as plain:
            if served["postgresql"]:
                plain.sendall(struct.pack("!ii", 8, 80877103))  # SSLRequest
                if plain.recv(1) != b"S":
                    return Check(served["name"], False, "PostgreSQL offers no TLS")
            with self._context().wrap_socket(plain, server_hostname=served["host"]) as secure:
                certificate = secure.getpeercert() or {}
        expires = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        days = int((expires - time.time()) / 86400)
        detail = f"valid for {days} more days"
        if days < self._parameters["minimum_days"]:
            detail += "; run site.yml again, which renews it"
        last_day = time.strftime("%Y-%m-%d", time.gmtime(expires))
        return Check(
            served["name"],
            days >= self._parameters["minimum_days"],
            detail,
            {"certificates": {served["name"]: last_day}},
        )

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._parameters["ca"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "ca": {"type": "path", "required": True},
            "deadline": {"type": "int", "default": 2},
            "minimum_days": {"type": "int", "default": 14},
            "firewall": {"type": "str", "choices": [*FIREWALLS, "none"], "default": "own"},
            "ssh_logins": {"type": "str", "choices": ["keys_only", "as_found"]},
            "server": {"type": "str"},
            "server_roles": {"type": "list", "elements": "str", "default": []},
            "logins": {"type": "list", "elements": "dict", "default": []},
            "requests": {"type": "list", "elements": "dict", "default": []},
            "certificates": {"type": "list", "elements": "dict", "default": []},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
        },
        # Where nothing was applied there is nothing to prove.
        supports_check_mode=False,
    )
    checks = Prover(module.params).run()
    if not checks:
        module.fail_json(msg="There was nothing to check, so nothing is proved.")
    facts: dict[str, Any] = {"certificates": {}}
    for check in checks:
        facts["certificates"].update(check.facts.get("certificates", {}))
        facts.update({key: value for key, value in check.facts.items() if key != "certificates"})
    report = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
    failed = [check for check in checks if not check.ok]
    if failed:
        module.fail_json(
            msg="\n".join(f"{check.name}: {check.detail}" for check in failed),
            checks=report,
            facts=facts,
        )
    module.exit_json(changed=False, checks=report, facts=facts)


if __name__ == "__main__":
    main()
