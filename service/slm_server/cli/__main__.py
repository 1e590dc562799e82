"""`python -m slm_server.cli`."""

from slm_server.cli import app

app()
