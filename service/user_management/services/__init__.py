"""The rules. A service is built per request on a session; it flushes, never commits."""

from user_management.services.administrators import (
    AdministratorService,
    AdministratorStatus,
    FirstAdministrator,
)
from user_management.services.audit import AuditService
from user_management.services.authentication import AuthenticatedUser, AuthenticationService, Login
from user_management.services.context import Actor, RequestContext
from user_management.services.users import UserPage, UserService

__all__ = [
    "Actor",
    "AdministratorService",
    "AdministratorStatus",
    "AuditService",
    "AuthenticatedUser",
    "AuthenticationService",
    "FirstAdministrator",
    "Login",
    "RequestContext",
    "UserPage",
    "UserService",
]
