"""What each task of a run would load for itself is there before the first one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
MODULES = ["cryptography.x509", "user_management.models"]
PROGRAM = """
import json, sys
from ansible.plugins import loader
loader.init_plugin_loader()
loader.callback_loader.get("autobot.users.load_once")
print(json.dumps({
    "modules": [name for name in sys.argv[1:] if name in sys.modules],
    "filters": "default" in loader.filter_loader._cached_non_collection_wrappers,
    "tests": "defined" in loader.test_loader._cached_non_collection_wrappers,
}))
"""


def test_filters_tests_and_what_they_import_are_there() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *MODULES],
        cwd=REPOSITORY,
        env=os.environ | {"ANSIBLE_CONFIG": "ansible.cfg"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout) == {
        "modules": MODULES,
        "filters": True,
        "tests": True,
    }


def test_a_run_loads_it() -> None:
    config = (REPOSITORY / "ansible.cfg").read_text()
    assert "callbacks_enabled = autobot.users.load_once," in config
