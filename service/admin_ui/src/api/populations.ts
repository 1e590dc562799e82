/** The two populations: the same operations at two addresses. */

import type {
  ListAutobotUsersData,
  OneTimePasswordResponse,
  Population,
  RoleListResponse,
  UserCreate,
  UserListResponse,
  UserResponse,
  UserUpdate,
} from './generated'
import * as api from './generated'

/** A user with the version that a change must name (`If-Match`). */
export interface Versioned<T> {
  value: T
  etag: string
}

export const TITLES: Record<Population, string> = {
  slm: 'SLM Fleet Administrators',
  autobot: 'AutoBot Application Users',
}

/** Where their lists are. */
export const PAGES: Record<Population, string> = {
  slm: '/settings/admin/users',
  autobot: '/settings/admin/users/autobot',
}

/** Who they are. */
export const MEANINGS: Record<Population, string> = {
  slm: 'They can access the SLM admin dashboard and manage the whole AutoBot fleet.',
  autobot: 'They can access AutoBot’s chat and tools.',
}

/** One of them, and several. */
export const NOUNS: Record<Population, readonly [string, string]> = {
  slm: ['administrator', 'administrators'],
  autobot: ['user', 'users'],
}

/** How many of them, in words. */
export function countInWords(population: Population, count: number): string {
  return `${count.toLocaleString()} ${NOUNS[population][count === 1 ? 0 : 1]}`
}

/** What a list of users can be asked for. */
export type UserQuery = NonNullable<ListAutobotUsersData['query']> & { sort?: Sort }

export type SortColumn = 'username' | 'email' | 'last_login_at' | 'created_at'

/** A column, with `-` from the end. */
export type Sort = SortColumn | `-${SortColumn}`

const OPERATIONS = {
  slm: {
    list: api.listSlmUsers,
    get: api.getSlmUser,
    create: api.createSlmUser,
    update: api.updateSlmUser,
    remove: api.deleteSlmUser,
    resetPassword: api.resetSlmUserPassword,
    lock: api.getSlmUserLock,
    unlock: api.unlockSlmUser,
    sessions: api.listSlmUserSessions,
    endSessions: api.endSlmUserSessions,
    endSession: api.endSlmUserSession,
    roles: api.listSlmRoles,
    assignRole: api.assignSlmRole,
    revokeRole: api.revokeSlmRole,
  },
  autobot: {
    list: api.listAutobotUsers,
    get: api.getAutobotUser,
    create: api.createAutobotUser,
    update: api.updateAutobotUser,
    remove: api.deleteAutobotUser,
    resetPassword: api.resetAutobotUserPassword,
    lock: api.getAutobotUserLock,
    unlock: api.unlockAutobotUser,
    sessions: api.listAutobotUserSessions,
    endSessions: api.endAutobotUserSessions,
    endSession: api.endAutobotUserSession,
    roles: api.listAutobotRoles,
    assignRole: api.assignAutobotRole,
    revokeRole: api.revokeAutobotRole,
  },
} as const

/** The generated operations on a population's users. */
export function operations(population: Population): (typeof OPERATIONS)[Population] {
  return OPERATIONS[population]
}

/** Read a user with their version. */
export async function readUser(
  population: Population,
  userId: string,
  signal?: AbortSignal,
): Promise<Versioned<UserResponse>> {
  const { data, response } = await operations(population).get({
    path: { user_id: userId },
    signal,
  })
  return { value: data, etag: response.headers.get('ETag') ?? '' }
}

/**
 * Change a user, if nobody else has since `etag` was read; null: whatever others did. `newOwner`
 * gets the teams of whom nobody else is an owner.
 */
export async function updateUser(
  population: Population,
  userId: string,
  body: UserUpdate,
  etag: string | null,
  newOwner?: string,
): Promise<UserResponse> {
  const { data } = await operations(population).update({
    path: { user_id: userId },
    query: { new_owner: newOwner },
    headers: etag === null ? {} : { 'if-match': etag },
    body,
  })
  return data
}

/** Create a user; the same `key` twice creates one. */
export async function createUser(
  population: Population,
  body: UserCreate,
  key: string,
): Promise<UserResponse> {
  const { data } = await operations(population).create({
    headers: { 'idempotency-key': key },
    body,
  })
  return data
}

/** One page of users. */
export async function listUsers(
  population: Population,
  query: UserQuery,
  signal?: AbortSignal,
): Promise<UserListResponse> {
  const { data } = await operations(population).list({ query, signal })
  return data
}

/** Delete a user, whatever others did meanwhile; `newOwner` as above. */
export async function deleteUser(
  population: Population,
  userId: string,
  newOwner?: string,
): Promise<void> {
  await operations(population).remove({
    path: { user_id: userId },
    query: { new_owner: newOwner },
  })
}

/** Give a user a one-time password instead of theirs; their sessions end. */
export async function resetPassword(
  population: Population,
  userId: string,
): Promise<OneTimePasswordResponse> {
  const { data } = await operations(population).resetPassword({ path: { user_id: userId } })
  return data
}

/** End all sessions of a user. */
export async function endSessions(population: Population, userId: string): Promise<void> {
  await operations(population).endSessions({ path: { user_id: userId } })
}

/** Let a user who failed too often try again. */
export async function unlockUser(population: Population, userId: string): Promise<void> {
  await operations(population).unlock({ path: { user_id: userId } })
}

/** How many roles are shown; who looks for another types more of its name. */
const ROLES = 100

/** The first of the roles that `search` finds. */
export async function findRoles(
  population: Population,
  search: string,
  signal?: AbortSignal,
): Promise<RoleListResponse> {
  const query = { search: search || undefined, limit: ROLES }
  const { data } = await operations(population).roles({ query, signal })
  return data
}

/** Give a user a role. */
export async function assignRole(
  population: Population,
  userId: string,
  roleId: string,
): Promise<void> {
  await operations(population).assignRole({
    path: { user_id: userId },
    body: { role_id: roleId },
  })
}

/** Take a role from a user. */
export async function revokeRole(
  population: Population,
  userId: string,
  roleId: string,
): Promise<void> {
  await operations(population).revokeRole({ path: { user_id: userId, role_id: roleId } })
}
