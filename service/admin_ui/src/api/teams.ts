/** Teams with their versions, and what of them can be edited. */

import {
  changeTeamMember,
  changeTeamMembers,
  getTeam,
  removeTeamMember,
  updateTeam,
  type TeamResponse,
  type TeamRole,
  type TeamUpdate,
} from './generated'
import type { Versioned } from './populations'

/** What a member of a team can be, and how it reads. */
export const TEAM_ROLES: readonly (readonly [TeamRole, string])[] = [
  ['member', 'Member'],
  ['admin', 'Admin'],
  ['owner', 'Owner'],
]

export interface TeamForm {
  name: string
  description: string
  is_default: boolean
}

/** The form of a team. */
export function teamForm({ name, description, is_default }: TeamResponse): TeamForm {
  return { name, description: description ?? '', is_default }
}

/** The fields of the form that are given, as the API takes them. */
export function teamBody(form: Partial<TeamForm>): TeamUpdate {
  const { description, ...others } = form
  return {
    ...others,
    ...(description !== undefined && { description: description.trim() || null }),
  }
}

/** Read a team with its version. */
export async function readTeam(id: string, signal?: AbortSignal): Promise<Versioned<TeamResponse>> {
  const { data, response } = await getTeam({ path: { team_id: id }, signal })
  return { value: data, etag: response.headers.get('ETag') ?? '' }
}

/** Change a team, if nobody else has since `etag` was read. */
export async function changeTeam(
  id: string,
  changes: Partial<TeamForm>,
  etag: string,
): Promise<void> {
  await updateTeam({
    path: { team_id: id },
    headers: { 'if-match': etag },
    body: teamBody(changes),
  })
}

/**
 * Make a member something else, or with null take them out. `newOwner`, another member, becomes an
 * owner at once.
 */
export async function changeMember(
  teamId: string,
  userId: string,
  role: TeamRole | null,
  newOwner?: string,
): Promise<void> {
  const path = { team_id: teamId, user_id: userId }
  if (newOwner !== undefined) {
    const owner = { user_id: newOwner, role: 'owner' } as const
    const body =
      role === null
        ? { change: [owner], remove: [userId] }
        : { change: [owner, { user_id: userId, role }] }
    await changeTeamMembers({ path: { team_id: teamId }, body })
  } else if (role === null) {
    await removeTeamMember({ path })
  } else {
    await changeTeamMember({ path, body: { role } })
  }
}
