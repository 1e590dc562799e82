"""Each model is written and read by the service's role, through the ORM and by plain SQL."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Table, exc, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from user_management.database import Database
from user_management.models import (
    APIKey,
    AuditAnchor,
    AuditLog,
    AuditSeal,
    AuthSession,
    Base,
    IdempotencyRecord,
    ImportedRow,
    KnownDevice,
    Organization,
    PasswordHistory,
    Permission,
    RateLimit,
    RefreshToken,
    Role,
    RolePermission,
    SSOProvider,
    Team,
    TeamMembership,
    User,
    UserCredential,
    UserMFA,
    UserRole,
    UserSSOLink,
)
from user_management.population import Population

LATER = datetime(2030, 1, 1, tzinfo=UTC)
HASH = bytes(range(32))
MODELS = {mapper.class_ for mapper in Base.registry.mappers}


@pytest.fixture
async def database(autobot_database: Any) -> AsyncIterator[Database]:
    made = Database(Population.AUTOBOT, autobot_database.service)
    yield made
    await made.dispose()


def ada(**values: Any) -> User:
    return User(username="ada", email="ada@autobot.local", **values)


def everything() -> list[Base]:
    """One row of each model, with what must be given and nothing more."""
    organization = Organization(id=uuid.uuid4(), name="Default Organization", slug="default")
    user = ada(id=uuid.uuid4(), org_id=organization.id)
    team = Team(id=uuid.uuid4(), org_id=organization.id, name="Team")
    permission = Permission(id=uuid.uuid4(), name="robots:see", resource="robots", action="see")
    role = Role(id=uuid.uuid4(), name="driver")
    login = AuthSession(id=uuid.uuid4(), user_id=user.id, expires_at=LATER)
    provider = SSOProvider(id=uuid.uuid4(), provider_type="ldap", name="Directory")
    return [
        organization,
        user,
        team,
        permission,
        role,
        provider,
        TeamMembership(team_id=team.id, user_id=user.id),
        RolePermission(role_id=role.id, permission_id=permission.id),
        UserRole(user_id=user.id, role_id=role.id, assigned_by=user.id),
        APIKey(key_hash="0" * 64, key_prefix="abot_0123456", user_id=user.id, name="key"),
        UserSSOLink(user_id=user.id, provider_id=provider.id, external_id="cn=ada"),
        UserMFA(user_id=user.id, secret_encrypted="sealed"),
        AuditLog(user_id=user.id, action="user_created", resource_type="user"),
        login,
        RefreshToken(token_hash=HASH, session_id=login.id),
        UserCredential(user_id=user.id),
        KnownDevice(device=HASH[:16], user_id=user.id),
        PasswordHistory(user_id=user.id, password_hash="$2b$12$hash"),
        RateLimit(scope="account", key=HASH, expires_at=LATER),
        IdempotencyRecord(caller_id=user.id, key="k", request_hash=HASH, resource_id=team.id),
        ImportedRow(source="config", key=HASH),
        AuditSeal(seq=1, audit_id=uuid.uuid4(), hash=HASH),
        AuditAnchor(population="slm", seq=1, hash=HASH),
    ]


async def test_each_model_is_written_and_read(database: Database) -> None:
    rows = everything()
    assert {type(row) for row in rows} == MODELS
    async with database.session() as session:
        session.add_all(rows)
    async with database.session() as session:
        for row in rows:
            identity = inspect(row).identity
            found = await session.get(type(row), identity)
            assert found is not None
            for column in inspect(type(row)).column_attrs:
                expected = getattr(row, column.key) if column.key in row.__dict__ else None
                if expected is not None:
                    assert getattr(found, column.key) == expected, (type(row), column.key)


async def test_defaults_of_the_orm_and_of_the_server_agree(autobot_database: Any) -> None:
    """A plain INSERT of what must be given leaves the row that the ORM would write."""
    compared = 0
    for row in everything():
        table = inspect(type(row)).local_table
        assert isinstance(table, Table)
        for column in table.columns:
            if column.default is None or column.name == "id":
                continue
            given = column.default.arg
            expected = given(None) if callable(given) else given
            default = autobot_database.sql(
                "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef JOIN pg_attribute"
                " ON (attrelid, attnum) = (adrelid, adnum)"
                f" WHERE attrelid = '{table.name}'::regclass AND attname = '{column.name}'"
            )
            stored = autobot_database.sql(f"SELECT to_jsonb({default})")
            assert json.loads(stored) == expected, column
            compared += 1
    assert compared == 31


async def test_a_plain_insert_needs_only_what_the_orm_needs(autobot_database: Any) -> None:
    autobot_database.sql(
        "INSERT INTO users (username, email) VALUES ('ada', 'ada@x')", user="slm_service"
    )
    assert (
        autobot_database.sql(
            "SELECT is_active, is_verified, mfa_enabled, is_platform_admin, preferences FROM users"
        )
        == "t|f|f|f|{}"
    )


async def test_a_change_reads_back_what_the_server_set(database: Database) -> None:
    async with database.session() as session:
        session.add(ada())
    await asyncio.sleep(0.01)
    async with database.session() as session:
        user = (await session.scalars(select(User))).one()
        user.bio = "Countess"
        await session.flush()
        assert user.updated_at > user.created_at
        assert user.updated_at.tzinfo is UTC


async def test_times_keep_their_moment_whatever_the_zone(database: Database) -> None:
    riga = timezone(timedelta(hours=3))
    async with database.session() as session:
        session.add(ada(last_login_at=datetime(2026, 6, 1, 15, 0, tzinfo=riga)))
    async with database.session() as session:
        assert await session.scalar(select(User.last_login_at)) == datetime(
            2026, 6, 1, 12, 0, tzinfo=UTC
        )


async def test_a_naive_time_is_refused(database: Database) -> None:
    async def write() -> None:
        async with database.session() as session:
            session.add(ada(last_login_at=datetime(2026, 6, 1, 12, 0)))  # noqa: DTZ001

    with pytest.raises(exc.StatementError, match="naive datetime"):
        await write()


async def test_roles_come_from_user_roles_by_priority(database: Database) -> None:
    low, high = (
        Role(id=uuid.uuid4(), name="readonly", priority=10),
        Role(id=uuid.uuid4(), name="admin", priority=100),
    )
    user, other = ada(id=uuid.uuid4()), User(id=uuid.uuid4(), username="bob", email="bob@x")
    async with database.session() as session:
        session.add_all([low, high, user, other])
        await session.flush()
        session.add_all(
            [
                # Who assigned a role does not have it.
                UserRole(user_id=user.id, role_id=low.id, assigned_by=other.id),
                UserRole(user_id=user.id, role_id=high.id, assigned_by=other.id),
            ]
        )
    async with database.session() as session:
        loaded = await session.scalars(
            select(User)
            .options(
                selectinload(User.roles),
                selectinload(User.credentials),
            )
            .order_by(User.username)
        )
        found, assigner = loaded.all()
        of_found = (
            await session.scalars(select(UserRole).where(UserRole.user_id == found.id))
        ).all()
    assert [role.name for role in found.roles] == ["admin", "readonly"]
    assert len(of_found) == 2
    assert found.credentials is None
    assert assigner.roles == []


async def test_an_unloaded_relationship_is_an_error_not_a_query(database: Database) -> None:
    async with database.session() as session:
        session.add(ada())
        await session.flush()
        user = (await session.scalars(select(User).execution_options(populate_existing=True))).one()
        with pytest.raises(exc.InvalidRequestError, match="lazy='raise'"):
            _ = user.organization


async def explain(session: AsyncSession, statement: str) -> str:
    await session.execute(text("SET LOCAL enable_seqscan = off"))
    await session.execute(text("SET LOCAL enable_sort = off"))
    return "\n".join(await session.scalars(text(f"EXPLAIN {statement}")))


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (
            "SELECT id FROM users WHERE (created_at, id) < (now(), gen_random_uuid())"
            " ORDER BY created_at DESC, id DESC LIMIT 10",
            "ix_users_created_at_id",
        ),
        (
            "SELECT id FROM users WHERE org_id = '00000000-0000-0000-0000-000000000001'"
            " ORDER BY created_at DESC, id DESC LIMIT 10",
            "ix_users_org_id_created_at_id",
        ),
        (
            "SELECT id FROM audit_logs ORDER BY created_at DESC, id DESC LIMIT 10",
            "ix_audit_logs_created_at_id",
        ),
    ],
)
async def test_pages_have_their_indexes(database: Database, statement: str, index: str) -> None:
    async with database.session() as session:
        plan = await explain(session, statement)
    assert f"Scan Backward using {index} " in plan


async def test_few_are_found_among_many(database: Database, autobot_database: Any) -> None:
    autobot_database.sql(
        "INSERT INTO users (username, email) SELECT 'u' || n, n || '@x.y'"
        " FROM generate_series(1, 10000) n"
    )
    autobot_database.sql(
        "INSERT INTO user_roles (user_id, role_id) SELECT users.id, roles.id FROM users, roles"
        " WHERE roles.name = 'user'"
    )
    autobot_database.sql("VACUUM ANALYZE users, user_roles")
    nobody = "'00000000-0000-0000-0000-000000000001'"
    async with database.session() as session:
        holders = await session.scalars(
            text(f"EXPLAIN SELECT user_id FROM user_roles WHERE role_id = {nobody}")
        )
        administrators = await session.scalars(
            text(
                "EXPLAIN SELECT id FROM users WHERE deleted_at IS NULL"
                f" AND (is_platform_admin AND is_active OR id = {nobody})"
                " ORDER BY id FOR NO KEY UPDATE"
            )
        )
    assert "ix_user_roles_role_id" in "\n".join(holders)
    assert "ix_users_platform_admin" in "\n".join(administrators)


async def test_search_has_its_index(database: Database) -> None:
    async with database.session() as session:
        found = await explain(
            session,
            "SELECT id FROM users"
            " WHERE user_search_form(email, username, display_name) LIKE '%ada%'",
        )
    assert "Bitmap Index Scan on ix_users_search_form" in found
