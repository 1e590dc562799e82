"""What a drill must find: the schema that this checkout's release gives a database."""

import pytest
from ansible.errors import AnsibleFilterError

from tests.support.role_files import load_plugin
from user_management.database import EXPECTED_REVISION
from user_management.models import Base


def test_the_schema_is_that_of_the_release_models() -> None:
    module = load_plugin("filter.release")
    schema = module.FilterModule().filters()["release_schema"]("slm_users")
    assert schema["database"] == "slm_users"
    assert schema["revision"] == EXPECTED_REVISION
    assert len(schema["tables"]) == len(Base.metadata.tables) > 20
    assert "public.users" in schema["tables"]
    with pytest.raises(AnsibleFilterError, match="none of slm_users, autobot_users"):
        module.release_schema("other")
