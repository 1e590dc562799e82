"""A backend that Ansible does not manage: its rights, its archive, rotations that wait for it."""

import datetime
import io
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from ansible_collections.autobot.users.plugins.plugin_utils.zipapps import built
from tests.support.role_files import ROOT, load_plugin, render, role_vars

LEAF: dict[str, Any] = {
    "name": "https",
    "dns": ["wsl.autobot.internal", "localhost"],
    "ip": ["172.16.168.40"],
}
ENTRIES: list[dict[str, Any]] = [
    {"path": "README.md", "content": "Read.\n"},
    {"path": "/etc/keys", "directory": True, "mode": "0700"},
    {"path": "/etc/keys/one", "content": "secret", "mode": "0600"},
]

Act = Callable[..., dict[str, Any]]


def action(plugin: Any, arguments: dict[str, Any], *, check: bool) -> Any:
    """An action on the controller, which reaches no host: it has no connection to one."""
    task = SimpleNamespace(args=arguments, action="x", async_val=0, check_mode=check, diff=False)
    return plugin.ActionModule(
        task=task,
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
        play_context=SimpleNamespace(),
        loader=DataLoader(),
        templar=None,
        shared_loader_obj=None,
    )


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere" / "wsl.tar"


@pytest.fixture
def write(archive: Path) -> Act:
    """Write entries to the archive; the result of the action."""
    plugin = load_plugin("action.host_files")

    def run(entries: list[dict[str, Any]], *, check: bool = False) -> dict[str, Any]:
        arguments = {"files": entries, "archive": str(archive)}
        result: dict[str, Any] = action(plugin, arguments, check=check).run(task_vars={})
        return result

    return run


def test_a_package_is_one_program(write: Act, archive: Path, tmp_path: Path) -> None:
    package = tmp_path / "demo"
    package.mkdir()
    (package / "cli.py").write_text("def main(): return 3\n")
    entry = {"path": "/usr/bin/demo", "package": str(package), "main": "demo.cli:main"}
    write([entry | {"mode": "0755"}])
    with tarfile.open(archive) as opened:
        stream = opened.extractfile("usr/bin/demo")
        assert stream is not None
        assert stream.read() == built(package, "demo.cli:main")
    with pytest.raises(FileNotFoundError):
        write([entry | {"package": str(tmp_path / "none")}])


def test_the_archive_has_each_entry_as_it_belongs_on_the_host(write: Act, archive: Path) -> None:
    credentials = {"path": "/etc/credentials", "credentials": {"password": "secret"}}
    result = write([*ENTRIES, credentials])
    assert (result["changed"], result["created"]) == (True, True)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert stat.S_IMODE(archive.parent.stat().st_mode) == 0o700
    with tarfile.open(archive) as opened:
        found = {each.name: (each.isdir(), oct(each.mode)) for each in opened}
        assert {(each.uid, each.gid, each.uname) for each in opened} == {(0, 0, "root")}
        stream = opened.extractfile("etc/credentials/password")
        assert stream is not None
        assert stream.read() == b"secret"
    assert found == {
        "README.md": (False, "0o644"),
        "etc/keys": (True, "0o700"),
        "etc/keys/one": (False, "0o600"),
        "etc/credentials": (True, "0o700"),
        "etc/credentials/password": (False, "0o600"),
    }


def test_the_same_entries_are_no_change_and_no_other_bytes(write: Act, archive: Path) -> None:
    write(ENTRIES)
    before = archive.read_bytes()
    assert write(ENTRIES) == {"changed": False, "created": False, "written": []}
    archive.unlink()
    write(ENTRIES)
    assert archive.read_bytes() == before


def test_a_change_names_the_entries_and_shows_none(write: Act) -> None:
    write(ENTRIES)
    new = [ENTRIES[0], {**ENTRIES[2], "content": "other"}, {"path": "/new", "content": ""}]
    assert write(new) == {
        "changed": True,
        "created": False,
        "written": ["etc/keys", "etc/keys/one", "new"],
    }


def test_an_archive_that_others_can_read_is_replaced(write: Act, archive: Path) -> None:
    write(ENTRIES)
    archive.chmod(0o640)
    assert write(ENTRIES)["changed"]
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600


def test_check_mode_says_it_and_writes_nothing(write: Act, archive: Path) -> None:
    assert write(ENTRIES, check=True)["written"] == ["README.md", "etc/keys", "etc/keys/one"]
    assert not archive.parent.exists()


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_archive_is_replaced(write: Act, archive: Path, content: bytes) -> None:
    archive.parent.mkdir()
    archive.write_bytes(content)
    assert write(ENTRIES)["changed"]
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as opened:
        assert len(opened.getnames()) == len(ENTRIES)


@pytest.fixture
def sign(tmp_path: Path) -> Act:
    """See to the pair of the leaf; the result of the action."""
    plugin = load_plugin("action.site_leaf")
    key = ec.generate_private_key(ec.SECP256R1())
    authority = load_plugin("action.site_authority").self_signed(
        key, "CA", ["DNS:autobot.internal", "DNS:localhost", "IP:172.16.168.0/24"], 3650
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

    def run(*, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {
            "path": str(tmp_path / "elsewhere" / "wsl.pem"),
            "leaf": LEAF,
            "authority": authority.public_bytes(serialization.Encoding.PEM).decode(),
            "authority_key": pem.decode(),
            "days": 397,
            "renew_days": 30,
            **options,
        }
        result: dict[str, Any] = action(plugin, arguments, check=check).run(task_vars={})
        certificate = x509.load_pem_x509_certificate(result["certificate"].encode())
        certificate.verify_directly_issued_by(authority)
        own = serialization.load_pem_private_key(result["key"].encode(), None)
        assert certificate.public_key() == own.public_key()
        return result

    return run


def test_the_certificate_is_a_servers_for_the_names_of_the_host(sign: Act) -> None:
    certificate = x509.load_pem_x509_certificate(sign()["certificate"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == LEAF["dns"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == LEAF["ip"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert left.days == 396


def test_the_pair_is_kept_for_its_owner_only(sign: Act, tmp_path: Path) -> None:
    first = sign()
    path = tmp_path / "elsewhere" / "wsl.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sign() == {**first, "changed": False, "reason": ""}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"renew": True}, "a new one was asked for"),
        ({"renew_days": 400}, "it expires on "),
        ({"leaf": {**LEAF, "ip": ["172.16.168.41"]}}, "it names other hosts"),
    ],
)
def test_the_pair_is_made_anew_when_it_is_due(
    sign: Act, options: dict[str, Any], reason: str
) -> None:
    first, second = sign(), sign(**options)
    assert second["changed"]
    assert second["reason"].startswith(reason)
    assert second["key"] != first["key"]


def test_a_damaged_file_is_none(sign: Act, tmp_path: Path) -> None:
    sign()
    (tmp_path / "elsewhere" / "wsl.pem").write_text("nonsense")
    assert sign()["reason"] == "there is none"


def test_check_mode_keeps_no_pair(sign: Act, tmp_path: Path) -> None:
    assert sign(check=True)["changed"]
    assert not (tmp_path / "elsewhere").exists()


HOSTVARS = {
    "slm": {"address": "172.16.168.19"},
    "backend": {"address": "172.16.168.20"},
    "wsl": {"address": "172.16.168.40"},
}


def of_the_database(name: str, groups: dict[str, list[str]]) -> Any:
    """A variable of the host of autobot_users, as the playbooks' own have it."""
    variables: dict[str, Any] = {
        **{"groups": groups, "hostvars": HOSTVARS},
        **{"address": "172.16.168.23", "group_names": ["autobot_database"]},
    }
    loader = DataLoader()
    for group in ("all", "site", "autobot_database"):
        path = ROOT / "playbooks" / "group_vars" / f"{group}.yml"
        variables |= loader.load_from_file(str(path), trusted_as_template=True)
    return Templar(loader, variables=variables).template(variables[name])


@pytest.mark.parametrize(
    ("groups", "addresses"),
    [
        ({"autobot_backend": ["backend"]}, ["172.16.168.20"]),
        ({"autobot_backend_elsewhere": ["wsl"]}, ["172.16.168.40"]),
        (
            {"autobot_backend": ["backend"], "autobot_backend_elsewhere": ["wsl"]},
            ["172.16.168.20", "172.16.168.40"],
        ),
    ],
)
def test_the_database_lets_a_backend_in_wherever_it_is(
    groups: dict[str, list[str]], addresses: list[str]
) -> None:
    groups = {"slm_server": ["slm"], **groups}
    lines = of_the_database("postgresql_hba_of_autobot_users", groups)
    assert [line["addresses"] for line in lines if line["role"] == "autobot_backend"] == [addresses]
    (rule,) = of_the_database("firewall_of_autobot_database", groups)
    assert rule["sources"] == ["172.16.168.19", *addresses]
    limits = {
        each["name"]: each
        for each in of_the_database("postgresql_of_autobot_users", groups)["roles"]
    }
    assert int(limits["autobot_backend"]["connection_limit"]) == 40 * len(addresses)
    connections = int(of_the_database("postgresql_max_connections", groups))
    assert connections == 64 * (1 + len(addresses)) + 30


def rotation(**variables: Any) -> Callable[[str], Any]:
    given: dict[str, Any] = {
        "site_secrets": yaml.safe_load((ROOT / "playbooks/group_vars/all.yml").read_text())[
            "site_secrets"
        ],
        "rotation_phase": "start",
        "rotation_of": ["database_passwords", "signing_keys", "backup_keys"],
        "rotation_elsewhere": "",
        "rotation_staged": {"added": []},
        "rotation_backends_elsewhere": ["wsl"],
        "site_elsewhere_dir": "/state/elsewhere",
    }
    return role_vars("rotation", **given | variables)


MADE = {"added": ["vault_slm_admin_password_next", "vault_autobot_backend_password_next"]}


@pytest.mark.parametrize(
    ("variables", "waits"),
    [
        ({}, True),
        ({"rotation_elsewhere": "done"}, False),
        # Whoever says it beforehand cannot have put there what has just been made.
        ({"rotation_elsewhere": "done", "rotation_staged": MADE}, True),
        ({"rotation_of": ["backup_keys"]}, False),
        ({"rotation_of": []}, False),
        ({"rotation_of": ["signing_keys"]}, True),
        ({"rotation_backends_elsewhere": []}, False),
        ({"rotation_phase": "finish"}, False),
    ],
)
def test_a_rotation_waits_until_a_backend_elsewhere_has_the_next_secrets(
    variables: dict[str, Any], waits: bool
) -> None:
    assert rotation(**variables)("rotation_waits_for_elsewhere") is waits


@pytest.mark.parametrize(
    ("variables", "ends"),
    [
        ({}, False),
        ({"rotation_phase": "finish"}, True),
        ({"rotation_phase": "finish", "rotation_elsewhere": "done"}, False),
        ({"rotation_phase": "finish", "rotation_of": ["backup_keys"]}, False),
        ({"rotation_phase": "finish", "rotation_of": ["certificate_authority"]}, True),
        ({"rotation_phase": "finish", "rotation_backends_elsewhere": []}, False),
    ],
)
def test_what_a_backend_elsewhere_may_use_is_not_forgotten(
    variables: dict[str, Any], ends: bool
) -> None:
    assert rotation(**variables)("rotation_ends_elsewhere") is ends


def test_an_operator_is_told_what_goes_where() -> None:
    named = rotation(rotation_backends_elsewhere=["wsl", "kali"])("rotation_archives")
    assert named == "/state/elsewhere/wsl.tar on wsl, /state/elsewhere/kali.tar on kali"


def readme(**gateway: Any) -> str:
    return render(
        "autobot_backend",
        "README.md.j2",
        inventory_hostname="wsl",
        autobot_backend_address="172.16.168.40",
        autobot_backend_database_host="172.16.168.23",
        autobot_backend_root="/opt/autobot-users/auth",
        autobot_backend_python="3.13",
        autobot_backend_gateway=gateway,
    )


def test_the_readme_speaks_of_this_host() -> None:
    text = readme()
    assert "tar --extract --file wsl.tar --directory / etc" in text
    assert "python3.13 -m venv" in text
    assert "https://172.16.168.40:8443" in text
    assert "relay" not in text


def test_in_front_of_autobot_its_own_site_goes_and_the_relay_is_started() -> None:
    site = "/etc/nginx/sites-enabled/autobot-backend"
    text = readme(replaces=[site], routes=[{"path": "/", "to": "http://127.0.0.1:8001"}])
    started = (
        "autobot-auth.socket autobot-auth.service autobot-auth-relay.socket"
        " autobot-auth-relay.service nginx.service"
    )
    assert f"mv {site} /root/\n" in text
    assert f"systemctl enable {started}\nsystemctl restart {started}\n" in text
    assert text.index(site) < text.index("nginx -t")


def test_a_backend_elsewhere_has_the_variables_of_the_others() -> None:
    directory = ROOT / "playbooks" / "group_vars" / "autobot_backend_elsewhere"
    same = yaml.safe_load((directory / "autobot_backend.yml").read_text())
    assert same == yaml.safe_load((ROOT / "playbooks/group_vars/autobot_backend.yml").read_text())


@pytest.mark.parametrize(
    ("gateway", "secret", "passes"),
    [({}, "", True), ({"routes": []}, "s", True), ({"routes": []}, "", False)],
)
def test_what_autobot_signs_with_is_given_where_it_cannot_be_read(
    gateway: dict[str, Any], secret: str, *, passes: bool
) -> None:
    tasks = yaml.safe_load((ROOT / "roles/preflight/tasks/elsewhere.yml").read_text())
    (check,) = (it["ansible.builtin.assert"] for it in tasks if "signs its tokens" in it["name"])
    variables = {"autobot_backend_gateway": gateway, "autobot_backend_gateway_secret": secret}
    templar = Templar(DataLoader(), variables=variables)
    condition = trust_as_template(f"{{{{ {check['that']} }}}}")
    assert templar.template(condition) is passes
