"""New secrets and certificates under work: no request fails, and nothing of the former is left."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography import x509

from tests.lab.people import People
from tests.lab.site import (
    ELSEWHERE,
    HOSTS,
    STATE,
    Administrator,
    Figure,
    Result,
    Run,
    Site,
    ansible,
    ansible_process,
    bearer,
    connect,
    must,
    watched_processes,
)
from tests.lab.traffic import Traffic, traffic

# Before a release: docs/development.md says what each commit has.
pytestmark = pytest.mark.full

SECRETS = "playbooks/rotate_secrets.yml"
CERTIFICATES = "playbooks/rotate_certificates.yml"
# Nobody is at the address of the backend elsewhere, and puts an archive there.
UNATTENDED = ("-e", '{"rotation_backends_elsewhere": []}')
FINISH = ("-e", "rotate_phase=finish", *UNATTENDED)
# The second time: the new passwords are in the vault, and the databases do not have them yet.
KILLED_AT = "TASK [postgresql : Change what differs]"
TRUST = "/etc/ssl/certs/ca-certificates.crt"


@dataclass
class Seen:
    """What of the site is to change."""

    vault: dict[str, str] = field(repr=False)
    vault_password: str = field(repr=False)
    authorities: list[x509.Certificate]
    keys: dict[str, set[str]]

    @classmethod
    def now(cls) -> Seen:
        site = Site.load()
        return cls(
            vault=site.vault,
            vault_password=(STATE / "vault-password").read_text(),
            authorities=x509.load_pem_x509_certificates(site.ca.read_bytes()),
            keys=published_keys(site),
        )


def published_keys(site: Site) -> dict[str, set[str]]:
    """The names of the keys that verify tokens, of each service."""
    found = {}
    for name, connected in (("slm", site.client), ("backend", site.backend_client)):
        with connected() as client:
            keys = client.get("/.well-known/jwks.json").json()["keys"]
        found[name] = {key["kid"] for key in keys}
    return found


def served_certificates() -> dict[str, str]:
    """Digest of each certificate that the hosts have."""
    files = {name: ["https"] for name in HOSTS}
    files |= {"redis": ["postgresql"], "slm": ["https", "postgresql"]}
    return {
        f"{host} {name}": must(host, "sha256sum", f"/etc/autobot-users/tls/{name}.crt").split()[0]
        for host, names in files.items()
        for name in names
    }


def repositories() -> dict[str, set[str]]:
    """The repositories of backups that each peer holds."""
    return {
        stanza: set(must(peer, "ls", f"/var/lib/autobot-repo/{stanza}/repo").split())
        for stanza, peer in (("slm_users", "redis"), ("autobot_users", "slm"))
    }


@contextlib.contextmanager
def at_work(site: Site, administrator: Administrator) -> Iterator[Traffic]:
    """People at work, who have logged in just now."""
    with site.client() as client:
        client.headers.update(bearer(administrator.login(client)))
        people = People(site, client)
        accounts = people.administrator(), people.create("autobot")
        with traffic(site, *accounts) as seen:
            yield seen
        people.remove()


@dataclass
class Rotation:
    """What came of the runs, in their order."""

    before: Seen
    killed: list[str]
    started: Run
    exposed: set[str]
    between: Seen
    token_between: int
    refused: Run
    vault_after_refusal: bool
    published: Run
    both: Seen
    certificates: tuple[dict[str, str], dict[str, str]]
    finished_authority: Run
    finished: Run
    token_after: int
    after: Seen
    kept: tuple[dict[str, set[str]], dict[str, set[str]], dict[str, set[str]]]
    secrets: set[str] = field(repr=False)
    work: list[Traffic] = field(default_factory=list)


def token_of(administrator: Administrator) -> str:
    with administrator.site.client() as client:
        return bearer(administrator.login(client))["Authorization"]


def answer_to(site: Site, token: str) -> int:
    with site.client() as client:
        return client.get("/api/slm-auth/me", headers={"Authorization": token}).status_code


@pytest.fixture(scope="module")
def rotation(site: Site, administrator: Administrator) -> Iterator[Rotation]:
    """Rotate everything: killed, completed, refused; a new CA; then finish."""
    seen: dict[str, Any] = {"before": Seen.now(), "work": []}
    kept = [repositories()]
    try:
        token = token_of(administrator)
        with at_work(site, administrator) as work:
            with ansible_process(SECRETS, *UNATTENDED) as process:
                assert process.stdout is not None
                seen["killed"] = []
                for line in process.stdout:
                    seen["killed"].append(line.rstrip())
                    if sum(each.startswith(KILLED_AT) for each in seen["killed"]) == 2:
                        break
            # The new ones are known by now: none of both may show.
            secrets = site.secrets | Site.load().secrets
            with watched_processes(secrets) as seen["exposed"]:
                seen["started"] = ansible(SECRETS, *UNATTENDED, "-vvv", "--diff")
            seen |= {"between": Seen.now(), "token_between": answer_to(site, token)}
            kept.append(repositories())
            vault = (STATE / "vault.yml").read_bytes()
            seen["refused"] = ansible(SECRETS, *FINISH)
            seen["vault_after_refusal"] = (STATE / "vault.yml").read_bytes() == vault
            leaves = served_certificates()
            seen["published"] = ansible(CERTIFICATES, *UNATTENDED, "-e", "rotate_ca=true")
        seen["work"].append(work)
        seen["both"] = Seen.now()
        with at_work(site, administrator) as work:
            seen["finished_authority"] = ansible(CERTIFICATES, *FINISH)
            seen["certificates"] = leaves, served_certificates()
            seen["finished"] = ansible(SECRETS, *FINISH, "-e", "rotate_finish_now=true")
        seen["work"].append(work)
        seen["token_after"] = answer_to(site, token)
        kept.append(repositories())
        seen |= {"after": Seen.now(), "kept": tuple(kept)}
        yield Rotation(**seen, secrets=secrets | Site.load().secrets)
    finally:
        # Other tests have been given the former secrets.
        site.vault.clear()
        site.vault.update(Site.load().vault)


def test_no_request_fails(rotation: Rotation, figure: Figure) -> None:
    for when, work in zip(("secrets and a new CA", "the former gone"), rotation.work, strict=True):
        figure(f"requests during the rotation, {when}", work.summary)
        work.judge()


def test_a_killed_rotation_is_completed_by_the_next_run(rotation: Rotation) -> None:
    assert rotation.killed[-1].startswith(KILLED_AT), "\n".join(rotation.killed[-60:])
    assert not any("PLAY RECAP" in line for line in rotation.killed)
    assert rotation.started.status == 0, rotation.started.tail()


def test_every_secret_is_new(rotation: Rotation, figure: Figure) -> None:
    before, after = rotation.before, rotation.after
    assert rotation.finished.status == 0, rotation.finished.tail()
    assert rotation.finished_authority.status == 0, rotation.finished_authority.tail()
    # Neither a next nor a former one is left.
    assert before.vault.keys() == after.vault.keys()
    assert not set(before.vault.values()) & set(after.vault.values())
    assert before.vault_password != after.vault_password
    runs = (
        rotation.started,
        rotation.published,
        rotation.finished_authority,
        rotation.finished,
    )
    figure("rotation of everything", f"{sum(run.seconds for run in runs):.0f} s in four runs")


def test_the_former_keys_are_kept_until_they_are_needed_no_more(rotation: Rotation) -> None:
    assert rotation.refused.status != 0
    assert "is needed until" in rotation.refused.output
    assert "rotate_finish_now=true, which ends" in rotation.refused.output
    assert rotation.vault_after_refusal
    for service, old in rotation.before.keys.items():
        both, new = rotation.between.keys[service], rotation.after.keys[service]
        assert len(old) == len(new) == 1
        assert both == old | new
    assert (rotation.token_between, rotation.token_after) == (200, 401)


def log_in(site: Site, vault: dict[str, str]) -> Result:
    """From the backend's host to autobot_users."""
    return connect(
        "backend",
        vault["vault_autobot_backend_password"],
        hostaddr=site.addresses["redis"],
        host="redis.autobot.internal",
        dbname="autobot_users",
        user="autobot_backend",
        sslmode="verify-full",
        sslrootcert="/etc/autobot-users/tls/ca.crt",
    )


def test_the_former_password_opens_nothing(site: Site, rotation: Rotation) -> None:
    assert log_in(site, rotation.after.vault).stdout.strip() == "answered"
    refused = log_in(site, rotation.before.vault)
    assert refused.status != 0
    assert "password authentication failed" in refused.stderr


def test_clients_get_to_know_the_new_authority_before_they_meet_it(rotation: Rotation) -> None:
    assert rotation.published.status == 0, rotation.published.tail()
    (old,) = rotation.before.authorities
    (new,) = rotation.after.authorities
    assert old.public_key() != new.public_key()
    assert old.subject != new.subject
    assert rotation.both.authorities == [old, new]
    constraints = [
        item.extensions.get_extension_for_class(x509.NameConstraints) for item in (old, new)
    ]
    assert constraints[0].critical
    assert constraints[1].critical
    assert constraints[0].value == constraints[1].value


def test_every_server_has_a_new_certificate(rotation: Rotation) -> None:
    old, new = rotation.certificates
    assert len(new) == 4
    assert not set(old.values()) & set(new.values())


@pytest.mark.parametrize("name", HOSTS)
def test_the_hosts_trust_the_new_authority_alone(rotation: Rotation, name: str) -> None:
    with warnings.catch_warnings():
        # Of a root that Debian trusts.
        warnings.filterwarnings("ignore", "Parsed a serial number which wasn't positive")
        certificates = x509.load_pem_x509_certificates(must(name, "cat", TRUST).encode())
    own = [item for item in certificates if "AutoBot" in item.subject.rfc4514_string()]
    assert own == rotation.after.authorities


def test_a_backend_elsewhere_is_given_what_is_new_and_nothing_else(
    site: Site, rotation: Rotation
) -> None:
    vault = rotation.after.vault
    with tarfile.open(STATE / "elsewhere" / f"{ELSEWHERE}.tar") as archive:
        given = {
            name: stream.read().decode()
            for name in archive.getnames()
            if (stream := archive.extractfile(name)) is not None
        }
    credentials = "etc/autobot-users/auth-credentials/autobot"
    for name in ("postgres_password", "postgres_other_password"):
        assert given[f"{credentials}_{name}"] == vault["vault_autobot_backend_password"]
    for name in ("signing_key", "previous_signing_key"):
        assert given[f"{credentials}_{name}"] == vault["vault_autobot_signing_key"]
    assert given["etc/autobot-users/tls/ca.crt"] == site.ca.read_text()
    (authority,) = rotation.after.authorities
    certificate = x509.load_pem_x509_certificate(given["etc/autobot-users/tls/https.crt"].encode())
    certificate.verify_directly_issued_by(authority)


def test_a_new_backup_key_has_a_repository_of_its_own(rotation: Rotation) -> None:
    for stanza, old in rotation.kept[0].items():
        key = rotation.after.vault[f"vault_{stanza}_backup_key"]
        new = {hashlib.sha256(key.encode()).hexdigest()[:8]}
        assert rotation.kept[1][stanza] == old | new
        assert rotation.kept[2][stanza] == new


def test_no_secret_shows(rotation: Rotation) -> None:
    assert rotation.exposed == set()
    assert "EXEC" in rotation.started.output, "the run was not verbose"
    runs = (rotation.started, rotation.published, rotation.finished_authority, rotation.finished)
    for run in runs:
        shown = [
            number
            for number, line in enumerate(run.output.splitlines(), 1)
            if any(secret in line for secret in rotation.secrets)
        ]
        assert shown == [], "the numbers of lines that show a secret"
