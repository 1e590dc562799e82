"""A backend that no run connects to: what it is given, and what that opens from its address."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml

from tests.lab.site import ELSEWHERE, ROOT, STATE, Result, Site, connect, must

ARCHIVE = STATE / "elsewhere" / f"{ELSEWHERE}.tar"
INVENTORY = yaml.safe_load((ROOT / f"inventory/lab/{ELSEWHERE}.yml").read_text())
ADDRESS = INVENTORY["all"]["children"]["autobot_backend_elsewhere"]["hosts"][ELSEWHERE]["address"]
NOBODYS = "172.16.168.41"
CREDENTIALS = "etc/autobot-users/auth-credentials"


def archived(name: str) -> str:
    """A file of the archive."""
    with tarfile.open(ARCHIVE) as archive:
        stream = archive.extractfile(name)
        assert stream is not None
        return stream.read().decode()


@contextmanager
def address(site: Site, taken: str) -> Iterator[None]:
    """The backend's host speaks to redis from another address."""
    route = f"{site.addresses['redis']}/32"
    must("backend", "ip", "address", "replace", f"{taken}/32", "dev", "eth0")
    must("backend", "ip", "route", "replace", route, "dev", "eth0", "src", taken)
    try:
        yield
    finally:
        must("backend", "ip", "route", "delete", route)
        must("backend", "ip", "address", "delete", f"{taken}/32", "dev", "eth0")


def log_in(site: Site, **changes: str) -> Result:
    """As the service there does it, with the password of the archive."""
    parameters = {
        "hostaddr": site.addresses["redis"],
        "host": "redis.autobot.internal",
        "dbname": "autobot_users",
        "user": "autobot_backend",
        "sslmode": "verify-full",
        "sslrootcert": "/etc/autobot-users/tls/ca.crt",
        "connect_timeout": "3",
        **changes,
    }
    password = archived(f"{CREDENTIALS}/autobot_postgres_password")
    return connect("backend", password, "SELECT host(inet_client_addr())", **parameters)


def test_the_archive_is_its_owners_and_has_the_secrets_of_the_site(site: Site) -> None:
    for path in (ARCHIVE, ARCHIVE.with_suffix(".pem")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    vault = site.vault
    password = archived(f"{CREDENTIALS}/autobot_postgres_password")
    assert password == vault["vault_autobot_backend_password"]
    assert archived(f"{CREDENTIALS}/autobot_signing_key") == vault["vault_autobot_signing_key"]
    assert archived("etc/autobot-users/tls/ca.crt") == site.ca.read_text()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/autobot-users/auth.env",
        "/etc/autobot-users/auth-public-keys.pem",
        "/etc/systemd/system/autobot-auth.socket",
        "/etc/systemd/system/autobot-auth.service",
        "/etc/systemd/system/nginx.service.d/50-autobot.conf",
    ],
)
def test_it_is_given_what_a_backend_of_ansibles_has(path: str) -> None:
    assert archived(path.lstrip("/")).rstrip("\n") == must("backend", "cat", path)


def test_the_archive_opens_autobot_users_from_its_address(site: Site) -> None:
    with address(site, ADDRESS):
        result = log_in(site)
    assert (result.status, result.stdout.strip()) == (0, ADDRESS), result.text


@pytest.mark.parametrize("changes", [{"dbname": "postgres"}, {"user": "slm_service"}])
def test_the_archive_opens_nothing_else(site: Site, changes: dict[str, str]) -> None:
    with address(site, ADDRESS):
        result = log_in(site, **changes)
    assert result.status != 0
    assert "pg_hba.conf rejects connection" in result.stderr


def test_the_archive_opens_nothing_from_another_address(site: Site) -> None:
    with address(site, NOBODYS):
        result = log_in(site)
    assert result.status != 0
    assert "timeout expired" in result.stderr
