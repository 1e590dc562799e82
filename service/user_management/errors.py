"""Errors of the domain.

A service raises one of these; the web layer turns `code` into a status and shows `detail`.
A detail is written for the caller: it never holds a secret, SQL or a stack trace.
"""

from typing import ClassVar

from user_management.population import Population


def reason(error: BaseException) -> str:
    """What an error says, never nothing: that of a deadline has no words of its own."""
    said = " ".join(str(error).split())
    if said:
        return said
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


class ConfigurationError(Exception):
    """A setting is missing or wrong. The message names the variable and what to do."""


class DomainError(Exception):
    """A rule of the domain was broken or a resource is away.

    `code` is stable and for programs, `detail` is for people. When `commits` is true, what the
    transaction holds is kept although the request fails (the audit row of a failed login).
    """

    code: ClassVar[str] = "error"
    default_detail: ClassVar[str] = "The request could not be carried out."
    commits: ClassVar[bool] = False

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.default_detail
        super().__init__(self.detail)


class NotFound(DomainError):
    """The thing does not exist, or the caller may not know that it does."""

    code = "not_found"
    default_detail = "Not found."


class Duplicate(DomainError):
    """A value that must be unique is taken."""

    code = "duplicate"
    default_detail = "It exists already."


class PreconditionFailed(DomainError):
    """The caller wants to change a version that is no longer the current one."""

    code = "precondition_failed"
    default_detail = (
        "Somebody else has changed it since you read it. Read it again, and repeat your change if "
        "it is still wanted."
    )


class IdempotencyKeyReused(DomainError):
    """The key came with another request before."""

    code = "idempotency_key_reused"
    default_detail = (
        "This Idempotency-Key was used for a different request. Send a new key with a new request."
    )


class QuotaExceeded(DomainError):
    """The organization has as many users as it may have."""

    code = "quota_exceeded"
    default_detail = "The organization has as many users as it may have."


class OrganizationInUse(DomainError):
    """The organization has users, who would be left without one."""

    code = "organization_in_use"
    default_detail = (
        "The organization has users. Delete them or move them to another organization first."
    )


class LastOwner(DomainError):
    """The change would leave the team without an owner."""

    code = "last_owner"
    default_detail = "A team would lose its last owner. Make another member an owner first."


class SystemRole(DomainError):
    """System roles stay as they are."""

    code = "system_role"
    default_detail = "This is a system role, which cannot be changed. Create a role of your own."


class LastAdministrator(DomainError):
    """The change would leave the population without an active administrator."""

    code = "last_administrator"
    default_detail = (
        "This is the last active administrator. Make another user an administrator first."
    )


class ImportRunning(DomainError):
    """Another import is at work on the same users."""

    code = "import_running"
    default_detail = "Users of this kind are being imported already. Wait until that is done."


class UnusableFile(DomainError):
    """Nothing can be imported from the file. The detail says what to do."""

    code = "unusable_file"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)


class InvalidCredentials(DomainError):
    """Login refused. Says nothing about the reason; the audit row must survive."""

    code = "invalid_credentials"
    default_detail = "Incorrect username or password."
    commits = True


class CurrentPasswordWrong(DomainError):
    """The caller gave a wrong current password. The audit row must survive."""

    code = "current_password_wrong"
    default_detail = "The current password is not correct."
    commits = True


class InvalidValue(DomainError):
    """A value breaks a rule that only the service can check. `field` is its name.

    `where` is the part of the request that it stands in: `body`, `path` or `query`.
    """

    code = "validation_error"

    def __init__(self, field: str, detail: str, *, where: str = "body") -> None:
        super().__init__(detail)
        self.field = field
        self.where = where


class PasswordRefused(DomainError):
    """The new password does not meet the policy."""

    code = "password_refused"
    default_detail = "The password was refused. Choose another one."

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class PasswordChangeRequired(DomainError):
    """The caller logged in with a one-time password and must change it first."""

    code = "password_change_required"
    default_detail = "Change the one-time password first."


class CrossSiteRequest(DomainError):
    """A browser sent a cookie along with what may be the request of another site."""

    code = "cross_site_request"
    default_detail = (
        "This may be the request of another site. Pages of this one send X-CSRF: 1 with it."
    )


class PermissionDenied(DomainError):
    """The caller is known but may not do this."""

    code = "permission_denied"
    default_detail = "You may not do this."


class NotAuthenticated(DomainError):
    """No valid session was presented."""

    code = "not_authenticated"
    default_detail = "Log in first."


class RecentAuthenticationRequired(DomainError):
    """The caller is known and may do this, once they have proved again who they are."""

    code = "recent_authentication_required"
    default_detail = (
        "Confirm that it is you: send your current password to /api/slm-auth/confirm, then repeat "
        "the request."
    )


class RefreshRefused(NotAuthenticated):
    """A refresh token that is of no use. Says nothing about the reason; what was written about
    it must survive.
    """

    default_detail = "The session has ended. Log in again."
    commits = True


class TemporarilyUnavailable(DomainError):
    """Try again after `retry_after` seconds."""

    code = "temporarily_unavailable"
    default_detail = "Temporarily unavailable. Try again later."

    def __init__(self, retry_after: int, detail: str | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class DatabaseUnavailable(TemporarilyUnavailable):
    """The database of `population` does not answer in time."""

    code = "database_unavailable"

    def __init__(self, population: Population, retry_after: int = 1) -> None:
        super().__init__(
            retry_after, f"The database of the {population} users is unavailable. Try again later."
        )
        self.population = population


class TooManyAttempts(TemporarilyUnavailable):
    """Too many failed attempts. The detail is the same whoever is concerned."""

    code = "too_many_attempts"
    default_detail = "Too many failed attempts. Try again later."
    commits = True

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)


class StorageFull(TemporarilyUnavailable):
    """There is no room for what was sent."""

    code = "storage_full"
    default_detail = (
        "There is no room for the file on the disk of the SLM VM. Make room below /var/tmp, then "
        "send it again."
    )

    def __init__(self, retry_after: int = 60) -> None:
        super().__init__(retry_after)


class HashQueueFull(TemporarilyUnavailable):
    """Too many passwords wait to be hashed."""

    code = "hash_queue_full"
    default_detail = "Too many logins at once. Try again later."

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__(retry_after)
