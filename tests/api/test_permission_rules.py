"""Whatever people do to each other, nobody ends up with a permission that nobody gave them.

People with roles change roles and users: each step by everybody to everything, and random ones one
after the other. What each of them holds is read before and after by a statement of the test's own;
the two rules are about the difference.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.support.applications import Site
from user_management.errors import DomainError
from user_management.models import User, UserRole
from user_management.permissions import ALL_PERMISSIONS, Permission
from user_management.population import Population
from user_management.schemas.roles import RoleCreate, RoleUpdate
from user_management.schemas.users import UserCreate, UserUpdate
from user_management.security.hashing import PasswordHasher
from user_management.services import Authority, RequestContext, RoleService, UserService
from user_management.services.role_assignments import RoleAssignmentService

SNAPSHOT = text("""
    SELECT u.id, u.is_platform_admin, u.is_active, u.deleted_at IS NOT NULL AS deleted, u.bio,
        coalesce(array_agg(DISTINCT ur.role_id) FILTER (WHERE ur.role_id IS NOT NULL), '{}'),
        coalesce(array_agg(DISTINCT p.name) FILTER (WHERE p.name IS NOT NULL), '{}')
    FROM users u
    LEFT JOIN user_roles ur ON ur.user_id = u.id
    LEFT JOIN role_permissions rp ON rp.role_id = ur.role_id
    LEFT JOIN permissions p ON p.id = rp.permission_id
    GROUP BY u.id
""")
ROLES = text("SELECT id FROM roles ORDER BY is_system, name")


class Person(NamedTuple):
    """A user as the rules see them."""

    is_platform_admin: bool
    is_active: bool
    deleted: bool
    bio: str | None
    roles: frozenset[UUID]
    permissions: frozenset[str]

    @property
    def holds(self) -> frozenset[str]:
        return ALL_PERMISSIONS if self.is_platform_admin else self.permissions


@dataclass
class World:
    """Some people and roles, within a transaction that is undone."""

    session: AsyncSession
    hasher: PasswordHasher
    people: list[UUID]
    made: int = 0

    async def snapshot(self) -> dict[UUID, Person]:
        rows = await self.session.execute(SNAPSHOT)
        return {
            user_id: Person(is_admin, is_active, deleted, bio, frozenset(roles), frozenset(held))
            for user_id, is_admin, is_active, deleted, bio, roles, held in rows
        }

    async def role(self, number: int) -> UUID:
        """One of the roles that there are now."""
        roles = (await self.session.scalars(ROLES)).all()
        found: UUID = roles[number % len(roles)]
        return found

    def person(self, number: int) -> UUID:
        return self.people[number % len(self.people)]

    def name(self) -> str:
        self.made += 1
        return f"made_{self.made}"

    def roles_by(self, caller: Person) -> RoleService:
        return RoleService(self.session, context(caller))

    def assignments_by(self, caller: Person) -> RoleAssignmentService:
        return RoleAssignmentService(self.session, context(caller))

    def users_by(self, caller: Person) -> UserService:
        return UserService(self.session, context(caller), self.hasher)


def context(caller: Person) -> RequestContext:
    return RequestContext(authority=Authority(caller.permissions, caller.is_platform_admin))


async def create_role(world: World, caller: Person, permissions: frozenset[Permission]) -> None:
    await world.roles_by(caller).create(RoleCreate(name=world.name(), permissions=permissions))


async def change_role(
    world: World, caller: Person, role: int, permissions: frozenset[Permission]
) -> None:
    changes = RoleUpdate(permissions=permissions)
    await world.roles_by(caller).update(await world.role(role), changes)


async def delete_role(world: World, caller: Person, role: int) -> None:
    await world.roles_by(caller).delete(await world.role(role))


async def assign(world: World, caller: Person, person: int, role: int) -> None:
    await world.assignments_by(caller).assign(world.person(person), await world.role(role))


async def revoke(world: World, caller: Person, person: int, role: int) -> None:
    await world.assignments_by(caller).revoke(world.person(person), await world.role(role))


async def create_user(world: World, caller: Person, role: int, is_admin: bool) -> None:
    name = world.name()
    new = UserCreate(
        username=name, email=f"{name}@x.y", is_admin=is_admin, role_ids=[await world.role(role)]
    )
    world.people.append((await world.users_by(caller).create(new)).id)


async def change_user(world: World, caller: Person, person: int, changes: dict[str, Any]) -> None:
    await world.users_by(caller).update(world.person(person), UserUpdate(**changes))


async def delete_user(world: World, caller: Person, person: int) -> None:
    await world.users_by(caller).delete(world.person(person))


# Few enough to meet again and again.
USERS_READ, CHAT_USE, AUDIT_READ = (
    Permission.USERS_READ,
    Permission.CHAT_USE,
    Permission.AUDIT_READ,
)
PERMISSIONS = st.frozensets(st.sampled_from([USERS_READ, CHAT_USE, AUDIT_READ]))
NUMBER = st.integers(0, 7)
CHANGES: list[dict[str, Any]] = [{"bio": "new"}, {"is_admin": True}, {"is_active": False}]
# What is done, by whom, to what.
STEP = st.one_of(
    st.tuples(st.just(create_role), NUMBER, PERMISSIONS),
    st.tuples(st.just(change_role), NUMBER, NUMBER, PERMISSIONS),
    st.tuples(st.just(delete_role), NUMBER, NUMBER),
    st.tuples(st.just(assign), NUMBER, NUMBER, NUMBER),
    st.tuples(st.just(revoke), NUMBER, NUMBER, NUMBER),
    st.tuples(st.just(create_user), NUMBER, NUMBER, st.booleans()),
    st.tuples(st.just(change_user), NUMBER, NUMBER, st.sampled_from(CHANGES)),
    st.tuples(st.just(delete_user), NUMBER, NUMBER),
)


async def populate(
    session: AsyncSession, hasher: PasswordHasher, holdings: list[frozenset[Permission]]
) -> World:
    """A person for each set of permissions, in a role that the next one has too, and then two
    administrators.
    """
    world = World(session, hasher, [])
    operator = Person(True, True, False, None, frozenset(), frozenset())
    roles = []
    for number, permissions in enumerate([*holdings, frozenset(), frozenset()]):
        new = RoleCreate(name=f"role {number}", permissions=permissions)
        roles.append(await world.roles_by(operator).create(new))
        user = User(
            username=f"person_{number}",
            email=f"{number}@x.y",
            is_platform_admin=number >= len(holdings),
        )
        session.add(user)
        await session.flush()
        session.add_all(UserRole(user_id=user.id, role_id=role.id) for role in roles[-2:])
        world.people.append(user.id)
    await session.flush()
    return world


def check_rules(caller: Person, before: dict[UUID, Person], after: dict[UUID, Person]) -> None:
    nobody = Person(False, True, False, None, frozenset(), frozenset())
    for user, now in after.items():
        then = before.get(user, nobody)
        assert now.permissions - then.permissions <= caller.holds, "got what the giver had not"
        if caller.is_platform_admin:
            continue
        assert now.is_platform_admin <= then.is_platform_admin, "became an administrator"
        # Who was deleted can do nothing any more, whatever becomes of their roles.
        if now != then and not then.deleted:
            assert not then.is_platform_admin, "an administrator was changed"
            assert then.permissions <= caller.holds, "somebody who holds more was changed"


def single_steps() -> Iterator[tuple[Any, ...]]:
    """Each operation, without its caller, on six people, their six roles, and one of the system."""
    people, roles = range(6), range(7)
    some = [frozenset(), frozenset([USERS_READ]), frozenset([USERS_READ, AUDIT_READ])]
    yield from product([create_role], some)
    yield from product([change_role], roles, some)
    yield from product([delete_role], roles)
    yield from product([assign, revoke], people, roles)
    yield from product([create_user], roles, [False, True])
    yield from product([change_user], people, CHANGES)
    yield from product([delete_user], people)


async def test_no_single_step_gives_or_rules_more_than_its_caller_holds(site: Site) -> None:
    holdings = [frozenset([USERS_READ]), frozenset([CHAT_USE]), frozenset([AUDIT_READ, CHAT_USE])]
    async with site.resources.session(Population.SLM) as session:
        world = await populate(session, site.resources.hasher, [*holdings, frozenset()])
        before = await world.snapshot()
        people = list(world.people)
        done = 0
        # Administrators hold everything.
        for by, (operation, *arguments) in product(people[:4], single_steps()):
            savepoint = await session.begin_nested()
            with suppress(DomainError):
                async with session.begin_nested():
                    await operation(world, before[by], *arguments)
                    done += 1
            check_rules(before[by], before, await world.snapshot())
            await savepoint.rollback()
            session.expunge_all()
            world.people[:] = people
        assert done > 80
        await session.rollback()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    holdings=st.lists(PERMISSIONS, min_size=2, max_size=4),
    steps=st.lists(STEP, min_size=1, max_size=12),
)
async def test_nobody_gets_or_rules_more_than_they_hold(
    site: Site, holdings: list[frozenset[Permission]], steps: list[tuple[Any, ...]]
) -> None:
    async with site.resources.session(Population.SLM) as session:
        world = await populate(session, site.resources.hasher, holdings)
        for operation, by, *arguments in steps:
            before = await world.snapshot()
            caller = before[world.person(by)]
            if caller.deleted or not caller.is_active:
                continue
            with suppress(DomainError):
                async with session.begin_nested():
                    await operation(world, caller, *arguments)
            # Each request begins with nothing read.
            session.expunge_all()
            check_rules(caller, before, await world.snapshot())
        await session.rollback()
