"""Who may pass the gateway to AutoBot's fleet manager."""

from typing import Final

from user_management.permissions import Permission
from user_management.population import Population
from user_management_web.rbac import require_permission

# It asks its callers for little more than a token, and knows no organizations.
GATEWAY_REQUIREMENT: Final = require_permission(Permission.ADMIN_ACCESS, population=Population.SLM)
