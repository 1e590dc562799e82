/** What can be done to many users at once. */

import {
  addTeamMember,
  changeTeamMembers,
  type Permission,
  type Population,
  type UserResponse,
} from '@/api/generated'
import {
  assignRole,
  deleteUser,
  endSessions,
  NOUNS,
  revokeRole,
  unlockUser,
  updateUser,
} from '@/api/populations'
import { single, together, type BulkWork } from '@/composables/bulk'

export type BulkVerb =
  | 'enable'
  | 'disable'
  | 'end-sessions'
  | 'unlock'
  | 'assign-role'
  | 'revoke-role'
  | 'add-to-team'
  | 'delete'

interface Rule {
  /** What a menu and the dialog's button say. */
  label: string
  /** What it is, before anybody says yes. */
  message: string
  needs: Permission
  /** What has to be chosen first. */
  target?: 'role' | 'team'
  only?: Population
}

export const BULK: Record<BulkVerb, Rule> = {
  enable: { label: 'Enable', message: 'They can log in again.', needs: 'users:update' },
  disable: {
    label: 'Disable',
    message: 'They cannot log in until they are enabled again, and their sessions end now.',
    needs: 'users:update',
  },
  'end-sessions': {
    label: 'End sessions',
    message: 'They are logged out everywhere at once and can log in again.',
    needs: 'users:update',
  },
  unlock: {
    label: 'Unlock',
    message: 'Who failed too often can try to log in again.',
    needs: 'users:update',
  },
  'assign-role': {
    label: 'Assign a role',
    message: 'You can give only roles whose permissions you have yourself.',
    needs: 'admin:users',
    target: 'role',
  },
  'revoke-role': {
    label: 'Remove a role',
    message: 'Who loses a role is logged out.',
    needs: 'admin:users',
    target: 'role',
  },
  'add-to-team': {
    label: 'Add to a team',
    message: 'They join as members. Who is in no organization yet becomes one of the team’s.',
    needs: 'teams:manage',
    target: 'team',
    only: 'autobot',
  },
  delete: {
    label: 'Delete',
    message: 'They cannot log in any more and are in no list. Their names are free again.',
    needs: 'users:delete',
  },
}

/** What a person with these rights is offered. */
export function bulkVerbsFor(
  population: Population,
  can: (permission: Permission) => boolean,
): BulkVerb[] {
  return (Object.keys(BULK) as BulkVerb[]).filter(
    (verb) => can(BULK[verb].needs) && (BULK[verb].only ?? population) === population,
  )
}

/** How many of them, in words. */
export function countInWords(population: Population, count: number): string {
  return `${count.toLocaleString()} ${NOUNS[population][count === 1 ? 0 : 1]}`
}

/** The API changes up to so many members of a team at once. */
const MEMBERS = 100

export interface BulkTask {
  work: BulkWork<UserResponse>
  /** Users per request. */
  chunk: number
}

/** What is to be done; `target` is the id of the role or the team. */
export function bulkTask(population: Population, verb: BulkVerb, target: string): BulkTask {
  const each = (run: (user: UserResponse) => Promise<unknown>) => ({ work: single(run), chunk: 1 })
  switch (verb) {
    case 'enable':
      return each((user) => updateUser(population, user.id, { is_active: true }, null))
    case 'disable':
      return each((user) => updateUser(population, user.id, { is_active: false }, null))
    case 'end-sessions':
      return each((user) => endSessions(population, user.id))
    case 'unlock':
      return each((user) => unlockUser(population, user.id))
    case 'assign-role':
      return each((user) => assignRole(population, user.id, target))
    case 'revoke-role':
      return each((user) => revokeRole(population, user.id, target))
    case 'delete':
      return each((user) => deleteUser(population, user.id))
    case 'add-to-team':
      return { work: joining(target), chunk: MEMBERS }
  }
}

function joining(teamId: string): BulkWork<UserResponse> {
  const path = { team_id: teamId }
  return together(
    (users) =>
      changeTeamMembers({ path, body: { add: users.map((user) => ({ user_id: user.id })) } }),
    (user) => addTeamMember({ path, body: { user_id: user.id } }),
  )
}
