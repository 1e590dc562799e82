"""The lived-in lab: made anew, read as it stands, and assessed."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from typing import Any, NamedTuple

from tests.lab.site import (
    HOSTS,
    INVENTORY,
    STATE,
    ansible,
    execute,
    files,
    inside,
    must,
    on,
    probe,
    wait_until,
)
from tests.lived_in.evening import typed

ANSWERS = INVENTORY / "host_vars"
# How many things are asked of others on each host: molecule/lived_in/group_vars.
QUESTIONS = {"slm": 4, "backend": 5, "redis": 7}
# What people ask among it. An answer piece by piece takes a minute, and is not waited for.
STREAM, CUT = "stream", "cut"
OF_PEOPLE = ("page", "upload", "login", "websocket", STREAM, CUT)
# Besides, each host has an agent that tells the fleet manager that it is there.
QUESTIONS_LOGS = "/var/log/autobot/*.log"
# Where a test says that it changed a host.
CHANGED = "/var/lib/changed-by-tests"


class State(NamedTuple):
    """What a run that stops must leave: files, who listens, what the firewalls say."""

    files: set[str]
    checksums: str
    listeners: list[str]
    rules: str


def state(name: str) -> State:
    return State(
        files(name),
        must(name, "sh", "-c", "find /etc /opt -type f -exec sha256sum {} + | sort"),
        # What waits in their queues changes by itself.
        sorted(
            " ".join([protocol, address])
            for protocol, _, _, _, address, *_ in map(
                str.split, must(name, "ss", "-Hlntu").splitlines()
            )
        ),
        must(name, "nft", "--stateless", "list", "ruleset"),
    )


class Answer(NamedTuple):
    """How a question of AutoBot's, or of somebody who works with it, was answered."""

    host: str
    asked: float
    target: str
    answered: float
    said: str

    @property
    def kind(self) -> str:
        return self.target.partition(":")[0]


def answers(since: float) -> list[Answer]:
    """What was asked since then, and has been answered."""
    found = []
    for name in HOSTS:
        for line in must(name, "sh", "-c", f"cat {QUESTIONS_LOGS}").splitlines():
            asked, target, took, said = line.split(" ", 3)
            answered = float(asked) + float(took)
            if float(asked) >= since:
                found.append(Answer(name, float(asked), target, answered, said))
    return found


def everybody_is_answered(since: float) -> bool:
    """Whether each question was answered well since then."""
    well = {
        (it.host, it.target)
        for it in answers(since)
        if it.said == "ok" and it.kind not in (STREAM, CUT)
    }
    return len(well) == sum(QUESTIONS.values()) + len(HOSTS)


def wait_for_answers(since: float, end: float) -> list[Answer]:
    """What was asked since then, once all that was asked before the end has its answer."""
    wait_until(lambda: everybody_is_answered(end), "AutoBot is at work afterwards")

    def whole() -> bool:
        return any(it.answered > end for it in answers(since) if it.kind == STREAM)

    wait_until(whole, "the answers that take a minute are whole")
    return answers(since)


def lost_by_machines(asked: list[Answer]) -> list[Answer]:
    return [it for it in asked if it.said != "ok" and it.kind not in OF_PEOPLE]


def lost_by_people(asked: list[Answer]) -> list[Answer]:
    """What people were refused, or saw broken off. A WebSocket that begins anew is none of it."""
    return [it for it in asked if it.said != "ok" and it.kind in OF_PEOPLE and it.kind != CUT]


def cuts(asked: list[Answer]) -> Counter[str]:
    """How often each WebSocket was cut."""
    return Counter(it.target for it in asked if it.kind == CUT)


def span(lost: list[Answer]) -> float:
    """Seconds from the first to the last of them."""
    moments = [it.answered for it in lost]
    return max(moments) - min(moments) if moments else 0.0


# What somebody who verifies no certificate is answered. argv: method, URL, body, token.
ASK = """
import json, ssl, sys, urllib.error, urllib.request
method, url, body, token = sys.argv[1:]
context = ssl._create_unverified_context()
headers = {"Content-Type": "application/json"}
if token:
    headers["Authorization"] = f"Bearer {token}"
request = urllib.request.Request(url, body.encode() or None, headers, method=method)
try:
    answer = urllib.request.urlopen(request, context=context, timeout=30)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""


def ask(method: str, url: str, body: str = "", token: str = "") -> tuple[int, str]:
    """Ask from outside the site: the status and the text of the answer."""
    done = inside("outsider", "python3", "-c", ASK, method, url, body, token)
    assert done.status == 0, done.text
    status, text = json.loads(done.stdout)
    return status, text


def was_changed(name: str) -> bool:
    """Whether a test, or a deployment, changed what the image of a host has."""
    return on(name, "ls", CHANGED, "/var/lib/autobot-before").stdout != ""


def make_anew() -> None:
    """Hosts on which nothing was ever deployed, with AutoBot at work on them."""
    if any(map(was_changed, HOSTS)):
        execute(["podman", "rm", "--force", "--time", "0", "--volumes", *HOSTS, "outsider"])
        run = ansible("molecule/lived_in/create.yml")
        assert run.status == 0, run.tail()
    now = time.time()
    wait_until(lambda: everybody_is_answered(now), "AutoBot is at work")


def forget_answers() -> None:
    """Remove what an assessment proposed."""
    if ANSWERS.exists():
        shutil.rmtree(ANSWERS)


def assess() -> list[dict[str, Any]]:
    """Write the proposal, and ask again: what it leaves to be decided."""
    for _ in range(2):
        run = typed("ansible-playbook playbooks/assess.yml")
        assert run.status == 0, run.tail()
    found: list[dict[str, Any]] = json.loads((STATE / "assessment.json").read_text())["conflicts"]
    return found


def open_ports(ports: set[int], addresses: dict[str, str]) -> set[tuple[str, int]]:
    """Which of these ports of the hosts somebody else at the site reaches."""
    targets = {
        f"{address}:{port}": (name, port) for name, address in addresses.items() for port in ports
    }
    found = probe("outsider", *targets)
    return {targets[target] for target, answer in found.items() if answer == "open"}


def listening() -> set[int]:
    """The TCP ports at which any of the hosts listens."""
    lines = [line for name in HOSTS for line in must(name, "ss", "-Hlnt").splitlines()]
    return {int(line.split()[3].rpartition(":")[2]) for line in lines}


def addresses() -> dict[str, str]:
    listed = execute(["ansible-inventory", "-i", str(INVENTORY), "--list"])
    hosts = json.loads(listed.stdout)["_meta"]["hostvars"]
    return {name: hosts[name]["address"] for name in HOSTS}
