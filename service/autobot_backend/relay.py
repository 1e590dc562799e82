"""Passes WebSockets on to AutoBot's API: `python -m autobot_backend.relay`."""

from user_management.middleware.caller import get_current_user
from user_management.middleware.relay import run
from user_management.population import Population

if __name__ == "__main__":
    run(Population.AUTOBOT, get_current_user.check)
