"""A play that goes back does so whoever failed, also when a host is lost in the middle of it."""

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.role_files import COLLECTION, ROOT, load_plugin
from tests.support.role_play import play_roles

FAILURES = load_plugin("filter.failures")
# The first is what a host says whose task failed, the second nobody: it was lost.
LOST = """
    - name: Lose a host, or fail on one
      ansible.builtin.command:
        argv: [sh, -c, "{{ 'echo boom >&2; ! :' if inventory_hostname == 'failing' else ':' }}"]
      changed_when: false
      vars:
        ansible_connection: "{{ 'ssh' if inventory_hostname == 'lost' else 'local' }}"
        ansible_host: 127.0.0.1
        ansible_port: 1
"""
BACK = f"""
- name: Change to a release, or go back
  hosts: all
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Look which release is in use
      ansible.builtin.import_role: {{name: release, tasks_from: look}}
    - name: Change
      block:
{LOST.replace(chr(10), chr(10) + "    ")}
        - name: Go on as if nothing had happened
          ansible.builtin.debug: {{msg: it went on}}
      rescue:
        - name: Go back
          ansible.builtin.include_role: {{name: release, tasks_from: back}}
"""
UNPACK = """
- name: Unpack
  hosts: all
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Unpack
      ansible.builtin.import_role: {name: release, tasks_from: unpack}
      vars:
        ansible_connection: "{{ 'ssh' if inventory_hostname == 'lost' else 'local' }}"
        ansible_host: 127.0.0.1
        ansible_port: 1
"""


CHECK = """
- name: Check
  hosts: all
  gather_facts: false
  tasks:
    - name: Check
      ansible.builtin.import_role: {name: release, tasks_from: check}
"""


def play_on(
    directory: Path, play: str, *hosts: str, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run a play of the role release; all hosts are this machine."""
    (directory / "releases/1.0.0-old").mkdir(parents=True)
    (directory / "releases/1.0.0-new").mkdir()
    (directory / "releases/1.0.0-new/.complete").touch()
    (directory / "current").symlink_to("releases/1.0.0-old")
    shutil.copy(ROOT / "roles/release/files/change_release.sh", directory)
    given = {
        "release_root": str(directory),
        "release_id": "1.0.0-new",
        "release_units": ["tests"],
        "release_archive": "/nowhere",
        "release_installed_bytes": 1,
        "release_python_version": "3.13",
        "release_urls": ["https://127.0.0.1:1"],
        "release_ca_certificate": "/etc/ssl/certs/ca-certificates.crt",
    }
    return play_roles(directory, play, hosts, {**given, **variables})


def run(directory: Path, play: str, *hosts: str, **variables: Any) -> str:
    """What the hosts that were not lost say in the end."""
    done = play_on(directory, play, *hosts, **variables)
    assert done.returncode not in {0, 1}, done.stdout
    text = done.stdout + done.stderr
    assert "undefined" not in text, text
    assert "it went on" not in text, text
    return text


@pytest.fixture
def services() -> Iterator[Callable[..., list[str]]]:
    """Services that answer with a status; their URLs."""
    servers = []

    def services(*statuses: int) -> list[str]:
        urls = []
        for status in statuses:

            class Service(BaseHTTPRequestHandler):
                answer = status

                def do_GET(self) -> None:
                    self.send_response(self.answer)
                    self.end_headers()

            server = HTTPServer(("127.0.0.1", 0), Service)
            threading.Thread(target=server.serve_forever).start()
            servers.append(server)
            urls.append(f"http://127.0.0.1:{server.server_port}")
        return urls

    yield services
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("statuses", [(200,), (200, 200), (200, 503)])
def test_a_release_is_safe_where_each_service_is_ready(
    tmp_path: Path, services: Callable[..., list[str]], statuses: tuple[int, ...]
) -> None:
    urls = services(*statuses)
    done = play_on(tmp_path, CHECK, "here", release_urls=urls)
    assert (done.returncode == 0) is (503 not in statuses), done.stdout
    said = " ".join(done.stdout.split())
    assert (f"here: {urls[-1]}/health/ready says " in said) is (503 in statuses)


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        (
            ["here", "lost"],
            ["lost was lost: it cannot be reached any more.", "it goes back by itself"],
        ),
        (["here", "failing"], ["failing: Lose a host, or fail on one: boom"]),
        (["here", "failing", "lost"], ["failing: Lose a host, or fail on one: boom"]),
    ],
)
def test_everybody_goes_back_and_says_why(
    tmp_path: Path, hosts: list[str], words: list[str]
) -> None:
    text = run(tmp_path, BACK, *hosts)
    for word in [*words, "here is back at 1.0.0-old, which does not serve either: "]:
        assert word in text


def test_where_the_release_stays_it_is_named(tmp_path: Path) -> None:
    text = run(tmp_path, BACK, "here", "lost", release_id="1.0.0-old")
    assert "lost was lost: it cannot be reached any more. here still has 1.0.0-old in use." in text


def test_a_host_that_is_lost_while_a_release_is_unpacked_is_named(tmp_path: Path) -> None:
    text = run(tmp_path, UNPACK, "here", "lost")
    assert "The release 1.0.0-new could not be built on every host." in text
    assert "lost was lost: it cannot be reached any more." in text
    assert "The release in use was not touched anywhere: on here it is 1.0.0-old." in text
    # It was whole.
    assert (tmp_path / "releases/1.0.0-new/.complete").exists()


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"msg": "no room"}, "no room"),
        ({"msg": "non-zero return code", "stderr": "a\n\nb\n"}, "a b"),
        ({"msg": "", "stderr": ""}, "no reason was given"),
        ({"msg": "non-zero return code", "stderr": " ", "stdout": "said\n"}, "said"),
        ({"censored": "hidden"}, "no reason was given"),
        (
            {
                "msg": "One or more items failed",
                "results": [{"failed": False, "msg": "fine"}, {"failed": True, "stderr": "x"}],
            },
            "x",
        ),
        ({"msg": "Module failed", "module_stderr": "killed"}, "Module failed killed"),
    ],
)
def test_a_reason_is_never_empty(result: dict[str, Any], said: str) -> None:
    assert FAILURES.reason(result) == said


def test_without_anybody_who_failed_it_says_where_to_look() -> None:
    assert FAILURES.failures(["a"], {"a": {}}, []) == (
        "Another host of the run failed; its reason stands above."
    )


SERVES_OLD = {"status": 200, "json": {"release": "old"}}
SERVES_NEW = {"status": 200, "json": {"release": "new"}}
SERVES_ANOTHER = {"status": 200, "json": {"release": "1111"}}
SILENT = {"status": -1, "msg": "refused"}
STAYS = "/r/1.0.0-new stays to be looked into."
AGAIN = "Remove the cause and run again."


@pytest.mark.parametrize(
    ("answers", "change", "said"),
    [
        ([SERVES_OLD], {}, f"a is back at 1.0.0-old, which serves. {STAYS} {AGAIN}"),
        ([SERVES_OLD], {"wanted": "1.0.0-old"}, f"a is back at 1.0.0-old, which serves. {AGAIN}"),
        (
            [SERVES_OLD, SILENT],
            {},
            f"a is back at 1.0.0-old, which does not serve either: refused. {STAYS} {AGAIN}",
        ),
        (
            [SILENT, SERVES_ANOTHER],
            {},
            f"a is back at 1.0.0-old, which does not serve: 1111 does. {STAYS} {AGAIN}",
        ),
        ([SERVES_NEW], {}, "a serves 1.0.0-new: it was confirmed there before that."),
        ([SILENT], {"in_use": ""}, "a had no release before."),
    ],
)
def test_who_went_back_says_what_serves(
    answers: list[dict[str, Any]], change: dict[str, str], said: str
) -> None:
    given = {"host": "a", "in_use": "1.0.0-old", "wanted": "1.0.0-new", **change}
    outcome = FAILURES.release_outcome(
        {"rc": 0}, directory="/r/1.0.0-new", answers=answers, **given
    )
    assert outcome == said


@pytest.mark.parametrize(
    ("back", "why"), [({"rc": 1, "stderr": "boom"}, "boom"), ({"msg": "x"}, "x")]
)
def test_who_could_not_go_back_says_why(back: dict[str, Any], why: str) -> None:
    given = {"host": "a", "in_use": "1.0.0-old", "wanted": "1.0.0-new", "directory": "/r"}
    outcome = FAILURES.release_outcome(back, answers=[SERVES_OLD], **given)
    assert outcome == f"Going back failed on a: {why}"


def blocks(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All blocks of a list of tasks or plays."""
    for task in tasks:
        for part in ("tasks", "block", "rescue", "always"):
            if part in task:
                yield from blocks(task[part])
        if "block" in task:
            yield task


def files() -> list[Path]:
    patterns = ("site.yml", "playbooks/*.yml", "playbooks/parts/*.yml", "roles/*/tasks/*.yml")
    return [path for pattern in patterns for path in ROOT.glob(pattern)]


def test_no_rescue_lets_a_host_go_on() -> None:
    """With any_errors_fatal, the failure of one host brings the others into their rescue too.

    A task there that is skipped or loops over nothing would let them go on to change the release.
    """
    ends = {}
    for path in files():
        for block in blocks(yaml.safe_load(path.read_text())):
            if "rescue" in block:
                last = block["rescue"][-1]
                included = last.get("ansible.builtin.include_role", {}).get("tasks_from")
                if included:
                    ending = ROOT / f"roles/release/tasks/{included}.yml"
                    last = yaml.safe_load(ending.read_text())[-1]
                sure = not {"when", "loop", "failed_when"} & set(last)
                where = f"{path.relative_to(ROOT)}: {block['name']}"
                ends[where] = sure and "ansible.builtin.fail" in last
    # The summary judges what the proof keeps.
    assert ends.pop("playbooks/parts/proof.yml: Prove the host") is False
    assert ends
    assert [where for where, is_sure in ends.items() if not is_sure] == []


STEP = """#!/usr/bin/python
import json
import sys
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule(argument_spec={
    "step": {"type": "str"}, "source": {"type": "dict"}, "database": {"type": "str"},
    "verifier": {"type": "str", "no_log": True}, "roles": {"type": "list", "elements": "str"},
    "programs": {"type": "path"}, "kept": {"type": "str"}, "log": {"type": "path"},
})
step = module.params["step"]
with Path("LOG").open("a") as log:
    log.write(step + "\\n")
module.exit_json(changed=True, found={"same": SAME})
"""
MOVE = """
- name: Move the rows
  hosts: all
  gather_facts: false
  any_errors_fatal: true
  vars:
    # From the moment at which nobody writes any more.
    is_lost: "{{ LOST }}"
    ansible_connection: "{{ 'ssh' if is_lost else 'local' }}"
    ansible_host: 127.0.0.1
    ansible_port: 1
  tasks:
    - name: Move the rows
      ansible.builtin.include_role: {name: adoption, tasks_from: rows}
      vars:
        adoption_run: [sh, -c, "cat >/dev/null"]
        adoption_patience: 2
        adoption_manager: here
        adoption_manager_root: /nowhere
        adoption_verifiers: {app: SCRAM}
        adoption_current: {stat: {exists: true}}
        adoption_look: {here: 1}
"""
LOST_AFTER = "adoption_begin is defined and '{step}' in lookup('ansible.builtin.file', steps)"


@pytest.mark.parametrize(
    ("step", "same", "comes_back"),
    # Those who are here are to be brought along, or all that has changed is to be copied.
    [("", True, True), ("fence", True, True), ("fence", False, True), ("fence", True, False)],
)
def test_who_is_lost_behind_the_fence_lets_autobot_write_again(
    tmp_path: Path, step: str, same: bool, comes_back: bool
) -> None:
    """A host may be lost at any step from the fence to the switch."""
    log = tmp_path / "steps"
    collections = tmp_path / "collections"
    shutil.copytree(ROOT / "collections", collections)
    module = collections / COLLECTION.relative_to(ROOT / "collections") / "plugins/modules"
    text = STEP.replace("LOG", str(log)).replace("SAME", str(same))
    (module / "moved_database.py").write_text(text)
    given = {
        "steps": str(log),
        "release_id": "1.0.0",
        "address": "192.0.2.23",
        "adoption_source": {"address": "192.0.2.99", "database": "people", "user": "app"},
        "postgresql_databases": [],
        "postgresql_passwords": {"slm_service": "x", "autobot_user_admin": "x"},
        "postgresql_role_names": [],
        "postgresql_programs": "/usr/bin",
        "postgresql_adopt_from": "",
        "site_domain": "example",
    }
    lost = LOST_AFTER.format(step=step)
    lost += " and adoption_failure is not defined" if comes_back else ""
    done = play_roles(tmp_path, MOVE.replace("LOST", lost), ["here"], given, collections)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, said
    steps = ["copy", "check", *step.split(), *(["undo"] if comes_back else [])]
    assert log.read_text().split() == steps, said
    assert "The connection to here was lost." in said
    if comes_back:
        assert "AutoBot works with 192.0.2.99:5432/people as before." in said
    else:
        assert "AutoBot cannot be let write to 192.0.2.99:5432/people again" in said
        assert "playbooks/adopt.yml -e adoption_undo=true" in said
