"""What is wrong with what a host's checks have found."""

from __future__ import annotations

import re
from typing import Any

HEADERS = {
    "strict-transport-security": "max-age=",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
# What psql says of a port that does not answer; that it could not even try proves nothing.
UNANSWERED = re.compile(
    r"timeout expired|timed out|Connection refused|No route to host|unreachable"
)
SERVER = "PostgreSQL: TLS, SCRAM, checksums, no error and no restart pending, WAL is archived"


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
