"""The command `slm`."""

import typer

from slm_server.cli import (
    admin,
    audit,
    doctor,
    housekeeping,
    organizations,
    roles,
    sessions,
    teams,
    transfer,
    users,
)

app = typer.Typer(no_args_is_help=True, help="Tools of the SLM server for operators.")
app.add_typer(admin.app, name="admin")
app.add_typer(audit.app, name="audit")
app.add_typer(users.app, name="users")
app.add_typer(sessions.app, name="sessions")
app.add_typer(roles.app, name="roles")
app.add_typer(organizations.app, name="organizations")
app.add_typer(teams.app, name="teams")
app.command("import")(transfer.import_users)
app.command("export")(transfer.export_users)
app.command("doctor")(doctor.examine)
app.command("housekeeping")(housekeeping.run)
