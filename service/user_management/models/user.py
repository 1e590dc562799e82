"""Users and what hangs off them alone: credentials, sessions, browsers."""

import uuid
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, ForeignKey, Index, String, func, literal_column
from sqlalchemy.orm import Mapped, mapped_column, relationship

from user_management.models.base import (
    Base,
    FalseFlag,
    JsonSettings,
    LongText,
    Now,
    PrimaryKey,
    Str45,
    Str50,
    Str100,
    Str255,
    Str500,
    TimestampMixin,
    TrueFlag,
)
from user_management.models.organization import Organization
from user_management.models.role import Role


class User(TimestampMixin, Base):
    """A person of this population. Deleted softly: other tables of AutoBot refer to it.

    `email` and `username` are stored in lower case and are unique among those not deleted.
    """

    __tablename__ = "users"

    id: Mapped[PrimaryKey]
    # None: not bound to an organization. Of a fleet administrator, whose database has no
    # organizations and no such foreign key: the one of AutoBot that they are limited to.
    org_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE"), index=True
    )
    email: Mapped[Str255]
    username: Mapped[Str100]
    # None: this user cannot log in with a password.
    password_hash: Mapped[Str255 | None]
    display_name: Mapped[Str255 | None]
    avatar_url: Mapped[Str500 | None]
    bio: Mapped[LongText | None]
    is_active: Mapped[TrueFlag]
    is_verified: Mapped[FalseFlag]
    mfa_enabled: Mapped[FalseFlag]
    is_platform_admin: Mapped[FalseFlag]
    preferences: Mapped[JsonSettings]
    last_login_at: Mapped[datetime | None]
    email_verified_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

    organization: Mapped[Organization | None] = relationship(lazy="raise")
    roles: Mapped[list[Role]] = relationship(
        # user_roles refers to users twice: also by who assigned the role.
        secondary="user_roles",
        primaryjoin="User.id == UserRole.user_id",
        secondaryjoin="UserRole.role_id == Role.id",
        order_by="(Role.priority.desc(), Role.name)",
        viewonly=True,
        lazy="raise",
    )
    credentials: Mapped["UserCredential | None"] = relationship(
        back_populates="user", lazy="raise", passive_deletes=True
    )


# Between the fields of `user_search_form`, so that no term matches across two of them.
FIELD_SEPARATOR: Final = "\n"


def search_form(text: Any) -> ColumnElement[str]:
    """What a text is compared by in searches: the function of migration 0011, also for terms."""
    return func.search_form(text, type_=String)


def user_search_form(user: Any) -> ColumnElement[str]:
    """All that a user can be found by, in the form of `search_form`."""
    return func.user_search_form(user.email, user.username, user.display_name, type_=String)


def is_spelled_otherwise(text: Any) -> ColumnElement[bool]:
    """Whether `search_form` may change more than the case: of a text that is not ASCII."""
    return func.octet_length(text) != func.char_length(text)


# A constant of the statement: the planner knows an index by its expression.
NEVER: Final[ColumnElement[datetime]] = literal_column("'-infinity'::timestamptz")


def last_login(user: Any) -> ColumnElement[datetime]:
    """When somebody last logged in, also of who never did: before everybody else."""
    return func.coalesce(user.last_login_at, NEVER)


# By the bytes, so that beginnings are ranges too; being equal is the same as ever.
for _column in (User.email, User.username):
    Index(
        f"ix_users_{_column.key}",
        _column,
        unique=True,
        postgresql_where=User.deleted_at.is_(None),
        postgresql_ops={_column.key: "text_pattern_ops"},
    )
Index(
    "ix_users_search_form",
    user_search_form(User).label("search"),
    postgresql_using="gin",
    postgresql_ops={"search": "gin_trgm_ops"},
)
# Beginnings of names that their own indexes do not know by their form.
Index(
    "ix_users_display_name_form",
    search_form(User.display_name).label("form"),
    postgresql_where=User.deleted_at.is_(None),
    postgresql_ops={"form": "text_pattern_ops"},
)
Index(
    "ix_users_username_form",
    search_form(User.username).label("form"),
    postgresql_where=User.deleted_at.is_(None) & is_spelled_otherwise(User.username),
    postgresql_ops={"form": "text_pattern_ops"},
)
# The release before searches by these two.
Index(
    "ix_users_display_name",
    func.lower(User.display_name).label("display_name"),
    postgresql_where=User.deleted_at.is_(None),
    postgresql_ops={"display_name": "text_pattern_ops"},
)
Index(
    "ix_users_search",
    func.user_search_text(User.email, User.username, User.display_name).label("search"),
    postgresql_using="gin",
    postgresql_ops={"search": "gin_trgm_ops"},
)
# Newest first, page by page from the last row seen.
Index("ix_users_created_at_id", User.created_at, User.id)
Index("ix_users_org_id_created_at_id", User.org_id, User.created_at, User.id)
# The other orders that lists have; there is no use for those who are in no organization.
Index(
    "ix_users_last_login",
    last_login(User),
    User.id,
    postgresql_where=User.deleted_at.is_(None),
)
_is_bound = User.deleted_at.is_(None) & User.org_id.is_not(None)
Index(
    "ix_users_org_id_last_login",
    User.org_id,
    last_login(User),
    User.id,
    postgresql_where=_is_bound,
)
for _column in (User.email, User.username):
    Index(
        f"ix_users_org_id_{_column.key}",
        User.org_id,
        _column,
        postgresql_where=_is_bound,
        postgresql_ops={_column.key: "text_pattern_ops"},
    )
# Of deleted people of whom something is known still.
ERASED_DOMAIN: Final = "deleted.invalid"
Index(
    "ix_users_known_deleted",
    User.deleted_at,
    postgresql_where=User.deleted_at.is_not(None) & User.email.not_like(f"%@{ERASED_DOMAIN}"),
)
# Few among many: whoever takes one away looks at all of them.
Index("ix_users_platform_admin", User.id, postgresql_where=User.is_platform_admin)


class UserCredential(TimestampMixin, Base):
    """What is special about a user's password. No row: nothing is."""

    __tablename__ = "user_credentials"

    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    must_change_password: Mapped[FalseFlag]
    # A one-time password is refused from then on.
    one_time_expires_at: Mapped[datetime | None]
    password_changed_at: Mapped[datetime | None]

    user: Mapped["User"] = relationship(back_populates="credentials", lazy="raise")


class PasswordHistory(Base):
    """A password that a user had before; it may not be used again for a while."""

    __tablename__ = "password_history"

    id: Mapped[PrimaryKey]
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    password_hash: Mapped[Str255]
    created_at: Mapped[Now]

    user: Mapped["User"] = relationship(lazy="raise")


class AuthSession(Base):
    """A login. An access token is good for as long as its session is neither ended nor expired.

    `expires_at` moves on with each refresh, up to the absolute limit.
    """

    __tablename__ = "auth_sessions"

    id: Mapped[PrimaryKey]
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[Now]
    expires_at: Mapped[datetime]
    refreshed_at: Mapped[datetime | None]
    # From it and a refresh token follows the next token; worth nothing without one.
    refresh_secret: Mapped[bytes | None]
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[Str50 | None]
    ip_address: Mapped[Str45 | None]
    user_agent: Mapped[Str500 | None]
    # When whose session it is last proved who they are. None: it began before that was noted.
    authenticated_at: Mapped[datetime | None] = mapped_column(server_default=func.now())

    user: Mapped["User"] = relationship(lazy="raise")


# Since when nobody can use a session any more.
Index("ix_auth_sessions_over_at", func.least(AuthSession.ended_at, AuthSession.expires_at))


class RefreshToken(Base):
    """A refresh token that was issued, as a hash of its code. Used once; kept to know it again."""

    __tablename__ = "refresh_tokens"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    session_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("auth_sessions.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[Now]
    used_at: Mapped[datetime | None]

    session: Mapped["AuthSession"] = relationship(lazy="raise")


class KnownDevice(Base):
    """A browser that a user has logged in with: what its cookie says, and when it was last."""

    __tablename__ = "known_devices"

    device: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    last_login_at: Mapped[Now] = mapped_column(index=True)

    user: Mapped["User"] = relationship(lazy="raise")
