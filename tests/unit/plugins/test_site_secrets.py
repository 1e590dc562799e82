"""The vault file: made once, added to, never changed, never shown."""

import contextlib
import json
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.support.role_files import ROOT, load_plugin

Act = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def plugin() -> Any:
    return load_plugin("action.site_secrets")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "vault.yml"


@pytest.fixture
def act(plugin: Any, path: Path) -> Act:
    """Run the action; returns its result."""

    def run(
        secrets: dict[str, str],
        *,
        password: bytes = b"right",
        label: str = "lab",
        check: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        loader = DataLoader()
        loader.set_vault_secrets([(label, VaultSecret(password))])
        task = SimpleNamespace(
            args={"path": str(path), "vault_id": "lab", "secrets": secrets, **options},
            action="site_secrets",
            async_val=0,
            check_mode=check,
            diff=True,
        )
        action = plugin.ActionModule(
            task=task,
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
            play_context=SimpleNamespace(),
            loader=loader,
            templar=None,
            shared_loader_obj=None,
        )
        result: dict[str, Any] = action.run(task_vars={})
        return result

    return run


def stored(path: Path, password: bytes = b"right") -> dict[str, str]:
    vault = VaultLib([("lab", VaultSecret(password))])
    values: dict[str, str] = yaml.safe_load(vault.decrypt(path.read_bytes()))
    return values


def test_makes_what_is_missing_and_keeps_what_is_there(act: Act, path: Path) -> None:
    assert act({"first": "password"})["added"] == ["first"]
    first = stored(path)["first"]

    result = act({"first": "password", "second": "password"})

    assert result["changed"]
    assert result["added"] == ["second"]
    assert stored(path)["first"] == first
    assert len({first, stored(path)["second"]}) == 2
    assert min(map(len, stored(path).values())) >= 43


def test_what_others_have_made_is_kept_as_it_is(act: Act, path: Path) -> None:
    secret = "AutoBot's: {{ not a template }}"
    result = act({"first": "password"}, adopted={"theirs": secret})
    assert result["added"] == ["first", "theirs"]
    assert stored(path)["theirs"] == secret
    assert secret not in str(result)
    assert not act({"first": "password"}, adopted={"theirs": secret})["changed"]
    assert act({"first": "password"}, adopted={"theirs": "another"})["changed"]
    assert stored(path)["theirs"] == "another"
    # A run that reads none forgets none.
    assert not act({"first": "password"})["changed"]


def test_changes_nothing_when_nothing_is_missing(act: Act, path: Path) -> None:
    act({"first": "password"})
    before = path.read_bytes()

    assert not act({"first": "password"})["changed"]
    assert path.read_bytes() == before


def test_a_key_is_p256_in_pkcs8(act: Act, path: Path) -> None:
    act({"key": "ec_private_key"})
    pem = stored(path)["key"]

    assert pem.startswith("-----BEGIN PRIVATE KEY-----\n")
    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    assert isinstance(key.curve, SECP256R1)


def test_the_file_is_encrypted_for_its_label_and_private(act: Act, path: Path) -> None:
    act({"first": "password"})

    assert path.read_bytes().splitlines()[0] == b"$ANSIBLE_VAULT;1.2;AES256;lab"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_no_value_in_results(act: Act, path: Path) -> None:
    result = json.dumps(act({"first": "password", "key": "ec_private_key"}))

    assert "first" in result
    for value in stored(path).values():
        assert value not in result


def test_check_mode_writes_nothing(act: Act, path: Path) -> None:
    result = act({"first": "password"}, check=True)

    assert result["changed"]
    assert not path.exists()


@pytest.mark.parametrize("check", [False, True])
def test_a_wrong_password_is_said_and_changes_nothing(act: Act, path: Path, check: bool) -> None:
    act({"first": "password"})
    before = path.read_bytes()

    with pytest.raises(AnsibleActionFail, match=r"does not open .*\(--vault-id lab@prompt\)"):
        act({"first": "password", "second": "password"}, password=b"wrong", check=check)
    assert path.read_bytes() == before


def test_a_missing_password_is_said(act: Act, path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="--vault-id lab@prompt"):
        act({"first": "password"}, label="other")
    assert not path.exists()


def test_a_plain_file_is_refused(act: Act, path: Path) -> None:
    path.parent.mkdir()
    path.write_text("first: value\n")

    with pytest.raises(AnsibleActionFail, match="ansible-vault encrypt"):
        act({"first": "password"})
    assert path.read_text() == "first: value\n"


@pytest.mark.parametrize("content", ["- a list", "first: 'open-quote-c4f1"])
def test_what_is_no_mapping_is_refused_without_showing_it(
    act: Act, path: Path, content: str
) -> None:
    path.parent.mkdir()
    secret = VaultSecret(b"right")
    path.write_bytes(VaultLib([("lab", secret)]).encrypt(content, secret, "lab"))

    with pytest.raises(AnsibleActionFail, match="ansible-vault edit") as caught:
        act({"first": "password"})
    assert "c4f1" not in str(caught.value)


def test_an_unknown_kind_is_refused(act: Act, path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="allowed are password, ec_private_key"):
        act({"first": "passwrod"})
    assert not path.exists()


def test_a_failed_write_leaves_the_old_file(
    act: Act, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act({"first": "password"})
    before = path.read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        act({"first": "password", "second": "password"})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


KEY = {"key": "password"}
STAGES = ("next", "promote", "forget", "settle")


@pytest.fixture
def rotate(act: Act, path: Path) -> Callable[..., dict[str, str]]:
    """Run stages of the rotation of `key`; what is in the file then and is not empty."""
    act(KEY)

    def run(*stages: str, hours: float = 12, **options: Any) -> dict[str, str]:
        terms = [
            {
                "secrets": [{"name": "key", "kind": "password"}],
                "hours": hours,
                "ends": "all sessions",
            }
        ]
        for stage in stages:
            act(KEY, stage=stage, rotate=terms, **options)
        return {name: value for name, value in stored(path).items() if value}

    return run


def test_a_secret_goes_through_its_stages(rotate: Any, path: Path) -> None:
    first = rotate()["key"]

    both = rotate("next")
    assert both.keys() == {"key", "key_next"}
    assert both["key"] == first
    second = both["key_next"]
    assert second != first

    assert rotate("promote") == {"key": second, "key_previous": first}
    assert rotate("forget") == {"key": second}
    # A run that has loaded the file before must see that they are gone.
    assert stored(path).items() >= {"key_next": "", "key_previous": ""}.items()
    rotate("settle")
    assert stored(path) == {"key": second}


def test_a_previous_secret_is_kept_for_its_time(rotate: Any) -> None:
    first = rotate()["key"]
    kept = rotate("next", "promote", "settle")
    assert kept["key_previous"] == first
    assert abs(time.time() - float(kept["key_previous_since"])) < 60

    for stage in ("finish", "next"):
        with pytest.raises(AnsibleActionFail, match=r"is needed until .*ends all sessions"):
            rotate(stage)
    assert rotate() == kept
    assert rotate("finish", now=True).keys() == {"key"}


@pytest.mark.parametrize("stage", ["finish", "next"])
def test_a_previous_secret_is_forgotten_after_its_time(rotate: Any, stage: str) -> None:
    first = rotate()["key"]
    rotate("next", "promote", "settle")
    assert first not in rotate(stage, hours=0).values()


def test_a_second_rotation_comes_to_its_end_like_the_first(rotate: Any) -> None:
    rotate("next", "promote", "settle")
    second = rotate("next", "promote", "settle", hours=0)
    assert second["key_previous_since"]
    assert rotate("next", hours=0)["key_next"]


def test_what_an_operator_has_put_there_stays(act: Act, path: Path) -> None:
    own: dict[str, Any] = {"key": "value", "switch": False, "note": "", "number": 0}
    secret = VaultSecret(b"right")
    path.parent.mkdir()
    path.write_bytes(VaultLib([("lab", secret)]).encrypt(yaml.safe_dump(own), secret, "lab"))
    act(KEY, stage="settle", new_password="another one")
    assert stored(path, b"another one") == own


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_can_be_repeated(rotate: Any, stage: str) -> None:
    """A run that was killed after a stage is followed by one that begins anew."""
    stages = STAGES[: STAGES.index(stage) + 1]
    assert rotate(*stages) == rotate(stage)


@pytest.mark.parametrize("done", [("next",), ("next", "promote")])
def test_an_interrupted_rotation_goes_on_and_is_not_finished(rotate: Any, done: Any) -> None:
    before = rotate(*done)
    for now in (False, True):
        with pytest.raises(AnsibleActionFail, match="was interrupted"):
            rotate("finish", now=now)
    assert rotate("next") == before
    # What was made first becomes the secret, at the first attempt or at the second.
    assert rotate("promote")["key"] == before.get("key_next", before["key"])


def test_what_does_not_exist_is_not_rotated(act: Act) -> None:
    act(KEY)
    with pytest.raises(AnsibleActionFail, match=r"has no other to rotate\. Run site\.yml first"):
        act(KEY, stage="next", rotate=[{"secrets": [{"name": "other", "kind": "password"}]}])


def test_check_mode_rotates_nothing(rotate: Any, path: Path) -> None:
    before = path.read_bytes()
    rotate("next", check=True)
    rotate("settle", check=True, new_password="another one")
    assert path.read_bytes() == before


def test_no_value_of_a_rotation_in_results(act: Act, path: Path) -> None:
    act(KEY)
    for stage in STAGES:
        known = set(stored(path).values()) - {""}
        terms = [{"secrets": [{"name": "key", "kind": "password"}], "hours": 0, "ends": "nothing"}]
        result = json.dumps(act(KEY, stage=stage, rotate=terms))
        assert not [value for value in {*known, *stored(path).values()} - {""} if value in result]


def test_the_next_one_is_of_its_own_kind(act: Act, path: Path) -> None:
    kinds = {"key": "password", "signing": "ec_private_key"}
    act(kinds)
    rows = [{"name": name, "kind": kind} for name, kind in kinds.items()]
    act(kinds, stage="next", rotate=[{"secrets": rows, "hours": 0, "ends": "nothing"}])
    found = stored(path)
    assert found["signing_next"].startswith("-----BEGIN PRIVATE KEY-----")
    assert len(found["key_next"]) == 43


def test_another_vault_password(act: Act, path: Path) -> None:
    act(KEY)
    before = stored(path)
    act(KEY, stage="settle", new_password="another one")
    assert stored(path, b"another one") == before
    with pytest.raises(AnsibleActionFail, match="does not open"):
        act(KEY)
    assert act(KEY, password=b"another one")["changed"] is False


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A checkout of nothing but the script that prints the vault password."""
    script = tmp_path / "scripts" / "lab-vault-password"
    script.parent.mkdir()
    shutil.copy(ROOT / "scripts" / "lab-vault-password", script)
    return script


@pytest.mark.parametrize("killed_before", ["following", "vault", "password", "end", None])
def test_a_killed_change_of_the_vault_password_leaves_one_that_opens(
    act: Act, plugin: Any, lab: Path, killed_before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = lab.parents[1] / ".lab"

    def password() -> bytes:
        return subprocess.run([lab], check=True, capture_output=True).stdout.strip()

    vault, known = state / "vault.yml", state / "vault-password"
    options = {"path": str(vault), "password_file": str(known), "stage": "settle"}
    old = password()
    act(KEY, password=old, path=str(vault))
    before = stored(vault, old)
    steps = {"vault-password.next": "following", "vault.yml": "vault", "vault-password": "password"}
    replace = plugin.write_private

    def replaced(path: Path, content: bytes) -> None:
        if steps[path.name] == killed_before:
            raise KeyboardInterrupt
        replace(path, content)

    def unlinked(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(plugin, "write_private", replaced)
        if killed_before == "end":
            patch.setattr(Path, "unlink", unlinked)
        with pytest.raises(KeyboardInterrupt) if killed_before else contextlib.nullcontext():
            act(KEY, password=old, **options)
    assert stored(vault, password()) == before
    assert (password() == old) is (killed_before in ("following", "vault"))
    # The next one comes to its end.
    act(KEY, password=password(), **options)
    assert stored(vault, password()) == before
    assert password() != old
    assert {file.name for file in state.iterdir()} == {"vault.yml", "vault-password"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in state.iterdir()} == {0o600}
