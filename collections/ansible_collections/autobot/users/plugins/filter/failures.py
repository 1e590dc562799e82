"""Why a play goes back: what failed, on which host, and which host was lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

DOCUMENTATION = """
name: failures
short_description: what failed on which host, in words
description:
  - For the C(rescue) of a play in which the failure of one host is that of all. Only the host whose
    task failed has C(ansible_failed_result); one that cannot be reached any more has nothing, and
    comes to no C(rescue).
positional: hostvars, lost
options:
  _input:
    description: Names of the hosts of the play.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts.
    type: dict
    required: true
  lost:
    description: Names of those that did not come to the rescue.
    type: list
    elements: str
    required: true
"""

NO_REASON = "no reason was given"
# Ansible's own words where the program's are better.
EMPTY_WORDS = ("", "non-zero return code", "One or more items failed", "All items completed")


def reason(result: Mapping[str, Any]) -> str:
    """Why a task failed; of a loop, why each of its items did. Never empty."""
    items = [item for item in result.get("results", []) if item.get("failed")]
    if items:
        return " ".join(reason(item) for item in items)
    said = str(result.get("msg") or "").strip()
    error = result.get("stderr") or result.get("module_stderr") or ""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = [said] if said not in EMPTY_WORDS else []
    words += [line for line in lines[-5:] if line not in words]
    if not words:
        words = [line.strip() for line in str(result.get("stdout") or "").splitlines()[-3:]]
    return " ".join(word for word in words if word) or NO_REASON


def failures(hosts: Sequence[str], hostvars: Mapping[str, Any], lost: Sequence[str]) -> str:
    """See DOCUMENTATION."""
    said = []
    for host in hosts:
        if host in lost:
            said.append(f"{host} was lost: it cannot be reached any more.")
        elif "ansible_failed_result" in hostvars[host]:
            failed = hostvars[host]["ansible_failed_result"]
            task = hostvars[host]["ansible_failed_task"].get("name") or "a task"
            said.append(f"{host}: {task}: {reason(failed)}")
    return " ".join(said) or "Another host of the run failed; its reason stands above."


def release_outcome(
    back: Mapping[str, Any],
    *,
    host: str,
    in_use: str,
    wanted: str,
    directory: str,
    answers: Sequence[Mapping[str, Any]],
) -> str:
    """What serves on a host after `change_release.sh back`, in words.

    `in_use` is what served before the change to `wanted`, which is in `directory`; `answers` are
    what the host's services say of themselves.
    """
    if not in_use:
        return f"{host} had no release before."
    if back.get("rc", 1) != 0:
        return f"Going back failed on {host}: {reason(back)}"
    wrong = [it for it in answers if it.get("status", 0) != 200 or served(it) not in in_use]
    told = (wrong or answers[:1])[-1]
    if in_use != wanted and served(told) == wanted.rpartition("-")[2]:
        return f"{host} serves {wanted}: it was confirmed there before that."
    if told.get("status", 0) != 200:
        state = f"does not serve either: {reason(told)}"
    elif told in wrong:
        state = f"does not serve: {served(told)} does"
    else:
        state = "serves"
    stays = "" if in_use == wanted else f" {directory} stays to be looked into."
    return f"{host} is back at {in_use}, which {state}.{stays} Remove the cause and run again."


def served(answer: Mapping[str, Any]) -> str:
    """The release that a service says it is of: the end of the release's name, or nothing."""
    said = answer.get("json")
    return str(said.get("release", "")) if isinstance(said, Mapping) else ""


class FilterModule:
    """Makes the filters known to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"failures": failures, "failure_reason": reason, "release_outcome": release_outcome}
