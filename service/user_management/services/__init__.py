"""The rules. A service is built per request on a session; it flushes, never commits."""

from user_management.services.accounts import AccountService, OneTimePassword
from user_management.services.administrators import (
    AdministratorService,
    AdministratorStatus,
    FirstAdministrator,
)
from user_management.services.audit import AuditService
from user_management.services.context import OPERATOR, Actor, Authority, RequestContext
from user_management.services.erasure import ErasureService
from user_management.services.housekeeping import HousekeepingService
from user_management.services.roles import RoleService
from user_management.services.users import UserService

__all__ = [
    "OPERATOR",
    "AccountService",
    "Actor",
    "AdministratorService",
    "AdministratorStatus",
    "AuditService",
    "Authority",
    "ErasureService",
    "FirstAdministrator",
    "HousekeepingService",
    "OneTimePassword",
    "RequestContext",
    "RoleService",
    "UserService",
]
