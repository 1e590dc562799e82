"""The command `slm`."""

import typer

from slm_server.cli import admin

app = typer.Typer(no_args_is_help=True, help="Tools of the SLM server for operators.")
app.add_typer(admin.app, name="admin")
