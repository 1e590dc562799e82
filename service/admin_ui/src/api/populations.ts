/** The two populations: the same operations at two addresses. */

import type { Population, UserCreate, UserResponse, UserUpdate } from './generated'
import * as api from './generated'

/** A user with the version that a change must name (`If-Match`). */
export interface Versioned<T> {
  value: T
  etag: string
}

export const TITLES: Record<Population, string> = {
  slm: 'SLM Administrators',
  autobot: 'AutoBot Users',
}

const OPERATIONS = {
  slm: {
    list: api.listSlmUsers,
    get: api.getSlmUser,
    create: api.createSlmUser,
    update: api.updateSlmUser,
    remove: api.deleteSlmUser,
    resetPassword: api.resetSlmUserPassword,
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

/** Change a user, if nobody else has since `etag` was read; null: whatever others did. */
export async function updateUser(
  population: Population,
  userId: string,
  body: UserUpdate,
  etag: string | null,
): Promise<UserResponse> {
  const { data } = await operations(population).update({
    path: { user_id: userId },
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
