/** What a member of a team can be. */

import type { TeamRole } from '@/api/generated'

export const TEAM_ROLES: readonly (readonly [TeamRole, string])[] = [
  ['member', 'Member'],
  ['admin', 'Admin'],
  ['owner', 'Owner'],
]
