"""Passes WebSockets on to AutoBot's fleet manager: `python -m slm_server.relay`."""

from slm_server.gateway import GATEWAY_REQUIREMENT
from user_management.population import Population
from user_management_web.relay import run

if __name__ == "__main__":
    run(Population.SLM, GATEWAY_REQUIREMENT.check)
