"""What a drill must find: the schema that this checkout's release gives a database."""

import importlib.util

import pytest
from ansible.errors import AnsibleFilterError
from role_files import ROOT

from user_management.database import EXPECTED_REVISION
from user_management.models import Base


def test_the_schema_is_that_of_the_release_models() -> None:
    path = ROOT / "plugins" / "filter" / "release.py"
    spec = importlib.util.spec_from_file_location("release", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    schema = module.FilterModule().filters()["release_schema"]("slm_users")
    assert schema["database"] == "slm_users"
    assert schema["revision"] == EXPECTED_REVISION
    assert len(schema["tables"]) == len(Base.metadata.tables) > 20
    assert "public.users" in schema["tables"]
    with pytest.raises(AnsibleFilterError, match="none of slm_users, autobot_users"):
        module.release_schema("other")
