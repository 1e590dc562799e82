"""The fleet manager's table on the way back."""

from __future__ import annotations

from .servers import Server, Session, literal


def give_back_table(server: Server, ours: str, theirs: str) -> list[str]:
    """The fleet manager's table as its administrators are with us: passwords, who is new, who is
    disabled or deleted. Returns those whose password AutoBot cannot read; they have no new one.

    `server` has both databases, and is asked by its superuser.
    """
    ((rows,),) = server.run(
        ours,
        "SELECT coalesce(json_agg(json_build_object('username', username, 'hash', password_hash,"
        " 'active', is_active AND deleted_at IS NULL, 'admin', is_platform_admin)), '[]')"
        " FROM public.users WHERE char_length(username) <= 64",
    )
    with Session(server, theirs) as session:
        session.query(
            "BEGIN; CREATE TEMPORARY TABLE person ON COMMIT DROP AS SELECT * FROM "
            f"json_to_recordset({literal(rows)}) AS person "
            "(username text, hash text, active boolean, admin boolean);"
            "UPDATE public.users SET is_active = active, is_admin = admin, password_hash = "
            "CASE WHEN hash LIKE '$2_$%' THEN hash ELSE password_hash END FROM person "
            "WHERE lower(users.username) = person.username;"
            "INSERT INTO public.users (username, password_hash, is_active, is_admin) "
            "SELECT username, hash, active, admin FROM person WHERE active AND hash LIKE '$2_$%' "
            "AND username NOT IN (SELECT lower(username) FROM public.users)"
        )
        unreadable = session.query(
            "SELECT username FROM person WHERE active AND hash NOT LIKE '$2_$%' ORDER BY 1"
        )
        session.query("COMMIT")
    return [name for (name,) in unreadable]
