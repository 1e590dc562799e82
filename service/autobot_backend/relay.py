"""Passes WebSockets on to AutoBot's API: `python -m autobot_backend.relay`."""

from user_management.population import Population
from user_management_web.caller import get_current_user
from user_management_web.relay import run

if __name__ == "__main__":
    run(Population.AUTOBOT, get_current_user.check)
