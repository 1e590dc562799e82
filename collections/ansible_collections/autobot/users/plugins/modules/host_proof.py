#!/usr/bin/python
"""Check from one host that what must work works and what must be refused is refused."""

from __future__ import annotations

import http.client
import json
import os
import re
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
    description: What becomes of password logins over SSH, V(keys_only) or V(as_found).
    type: str
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

HEADERS = {
    "strict-transport-security": "max-age=",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

# What psql says of a port that does not answer; that it could not even try proves nothing.
UNANSWERED = re.compile(
    r"timeout expired|timed out|Connection refused|No route to host|unreachable"
)

FIREWALLS = {
    "own": "firewall drops what no rule accepts",
    "additive": "firewall judges the site's ports, and leaves others to the host's",
}
SSH_KEYS = "SSH takes keys, no passwords"
SSH_PASSWORDS = "SSH takes passwords too, as it was found"
# With its path, as it demands.
SSHD = ["/usr/sbin/sshd", "-T", "-C", "user=root,host=localhost,addr=127.0.0.1"]
SERVER = "PostgreSQL: TLS, SCRAM, checksums, no error and no restart pending, WAL is archived"
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


def judge_login(expect: str, status: int, error: str) -> str:
    """What is wrong with the outcome of a login; empty when it is as expected."""
    # psql gives no other sign of who ended the connection than the server's word FATAL. What must
    # be refused is refused before a password is asked for: a wrong one would prove nothing.
    if status == 0:
        outcome = "accepted"
    elif "FATAL:" in error:
        outcome = "refused" if "pg_hba.conf" in error else "stopped by something else"
    elif UNANSWERED.search(error):
        outcome = "unreachable"
    else:
        outcome = "not tried"
    if outcome == expect or (expect == "kept_out" and outcome in {"refused", "unreachable"}):
        return ""
    reason = error.strip().splitlines()[-1].strip() if error.strip() else "it was let in"
    hints = {
        "accepted": "Look at pg_hba.conf, the firewall and the server's log on the other host.",
        "refused": "Somebody who must be refused is not, or the server is not there to refuse.",
        "kept_out": "Somebody who must be kept out is not: look at pg_hba.conf on the other host.",
        "unreachable": "The port must not answer this host: look at the firewall on the other one.",
    }
    return f"expected {expect}, found {outcome} ({reason}). {hints[expect]}"


def judge_server(state: dict[str, Any], roles: list[str]) -> str:
    """What is wrong with a PostgreSQL server of which these roles are the site's; empty when
    nothing is. Passwords of others' roles, and how others made the cluster, are theirs.
    """
    faults = []
    if state["ssl"] != "on":
        faults.append("ssl is off")
    if state["hba_errors"]:
        faults.append("pg_hba.conf has errors (see pg_hba_file_rules)")
    if state["file_errors"]:
        faults.append("the configuration has errors (see pg_file_settings)")
    if state["pending_restart"]:
        faults.append(f"settings wait for a restart: {state['pending_restart']}")
    if weak := sorted(set(state["weak_verifiers"]) & set(roles)):
        faults.append(f"passwords are not stored as SCRAM-SHA-256: {', '.join(weak)}")
    if state["archive"]:
        faults.append(f"{state['archive']}. Run: systemctl start autobot-backup-check")
    return "; ".join(faults)


def server_name(state: dict[str, Any]) -> str:
    """What is proved of a server. An adopted cluster may lack checksums, and goes on without."""
    if state["data_checksums"] == "on":
        return SERVER
    return SERVER.replace("checksums", "NO data checksums (docs/operations.md)")


def judge_chains(ruleset: dict[str, Any], mode: str) -> str:
    """What is wrong with the rules in force (nft's JSON); empty when nothing is."""
    chains = [item["chain"] for item in ruleset.get("nftables", []) if "chain" in item]
    ours = [chain for chain in chains if (chain["family"], chain["table"]) == ("inet", "autobot")]
    inputs = [chain.get("policy") for chain in ours if chain.get("hook") == "input"]
    if "drop" in inputs or (inputs and mode == "additive"):
        return ""
    does = "drops what no rule accepts" if mode == "own" else "judges what comes in"
    advice = "Run: systemctl reload-or-restart autobot-firewall"
    return f"no chain of the table inet autobot {does}. {advice}"


def takes_passwords(configuration: str) -> bool:
    """Whether sshd, whose `sshd -T` this is, lets somebody in with a password."""
    lines = configuration.lower().splitlines()
    methods = ("passwordauthentication", "kbdinteractiveauthentication")
    return any(f"{method} yes" in lines for method in methods)


def judge_response(
    request: dict[str, Any], status: int, headers: dict[str, str], body: bytes
) -> str:
    """What is wrong with a response; empty when it is as expected. Header names in lower case."""
    if status != request["status"]:
        excerpt = body[:300].decode("utf-8", "replace")
        return f"expected status {request['status']}, found {status}: {excerpt}"
    if "location" in request and headers.get("location") != request["location"]:
        return f"expected a redirect to {request['location']}, found {headers.get('location')}"
    if request.get("page"):
        if "script-src 'self'" not in headers.get("content-security-policy", ""):
            return "the page has no content-security-policy that says which scripts it runs"
        if not page_scripts(body):
            return "the page has no script"
    if request["url"].startswith("https:"):
        for name, part in HEADERS.items():
            if part not in headers.get(name, ""):
                return f"the header {name} is missing"
    if status >= 400 and headers.get("content-type") != "application/problem+json":
        return f"an error must be problem+json, found {headers.get('content-type')}"
    return ""


def page_scripts(body: bytes) -> list[str]:
    """Where the scripts of a page are."""
    return re.findall(r'<script\b[^>]*\ssrc="([^"]+)"', body.decode("utf-8", "replace"))


def judge_script(path: str, status: int, headers: dict[str, str]) -> str:
    """What is wrong with the answer to a page's script; empty when nothing is."""
    kind = headers.get("content-type", "")
    if status == 200 and "javascript" in kind:
        return ""
    return f"its script {path} is not served: status {status}, {kind or 'no content type'}"


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
