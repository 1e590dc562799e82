"""A secret, and what is beside it during a rotation."""

from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.support.role_files import ROOT, role_vars

QUERY = "{{ query('autobot.users.secret_versions', 'key') }}"


def versions(**variables: str) -> Any:
    return Templar(DataLoader(), variables=variables).template(trust_as_template(QUERY))


@pytest.mark.parametrize(
    ("vault", "found"),
    [
        ({"key": "a"}, ["a"]),
        ({"key": "a", "key_next": "b"}, ["a", "b"]),
        ({"key": "b", "key_next": "", "key_previous": "a"}, ["b", "a"]),
        # Since when the previous one is used no more is no version.
        ({"key": "b", "key_previous": "a", "key_previous_since": "17"}, ["b", "a"]),
        ({"key": "b", "key_next": "c", "key_previous": "a"}, ["b", "c", "a"]),
    ],
)
def test_the_version_in_use_comes_first(vault: dict[str, str], found: list[str]) -> None:
    assert versions(**vault) == found


def test_a_secret_that_is_not_there_is_no_empty_one() -> None:
    with pytest.raises(AnsibleError, match="'key'"):
        versions(key_next="b")


def test_each_secret_is_rotated_with_its_group() -> None:
    secrets = yaml.safe_load((ROOT / "playbooks/group_vars/all.yml").read_text())["site_secrets"]
    of = role_vars(
        "rotation",
        site_secrets=secrets,
        rotation_services=[{"session_hours": 12}],
        rotation_backup_days=28,
    )
    groups = of("rotation_secrets").values()
    assert sorted(secret["name"] for group in groups for secret in group["secrets"]) == sorted(
        secret["name"] for secret in secrets
    )
    assert of("rotation_shared_next") == [
        "vault_autobot_signing_key_next",
        "vault_autobot_backend_password_next",
    ]
