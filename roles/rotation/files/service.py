"""What a rotation must know of a service: how long sessions last, and whether it takes two secrets.

argv: the environment file of the service, its unit. Runs with the Python of the release in use.
"""

import json
import sys
from pathlib import Path

from user_management.config import Settings

environment, unit = (Path(argument).read_text() for argument in sys.argv[1:])
values = dict(line.split("=", 1) for line in environment.splitlines() if "=" in line)
name = "postgres_other_password"
hours = values.get("SESSION_ABSOLUTE_HOURS")
default = Settings.model_fields["session_absolute_hours"].default
takes_two = name in unit and f"slm_{name}" in Settings.model_fields
json.dump({"session_hours": int(hours or default), "takes_two": takes_two}, sys.stdout)
