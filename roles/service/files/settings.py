"""Whether a release can start with its settings: what they are is in the environment.

argv: the populations whose databases it works with. Runs with the code of the release.
"""

import sys

from user_management.config import load_settings
from user_management.errors import ConfigurationError
from user_management.population import Population

try:
    settings = load_settings()
    for population in sys.argv[1:]:
        settings.database(Population(population))
except ConfigurationError as error:
    sys.exit(str(error))
