/** What can be picked where an id is needed: found by a part of its name. */

import * as api from './generated'
import type { OrganizationResponse, Population, TeamResponse, UserResponse } from './generated'
import { listUsers, operations, readUser, type UserQuery } from './populations'

/** How many are shown; who looks for another types more of its name. */
const SHOWN = 20

export interface Choice {
  id: string
  name: string
  /** Tells apart those of the same name. */
  detail?: string
}

export interface Choices {
  items: Choice[]
  hasMore: boolean
}

export interface ChoiceSource {
  /** Of the queries; begins with what changes to the list invalidate. */
  key: readonly unknown[]
  find: (search: string, signal: AbortSignal) => Promise<Choices>
  read: (id: string, signal: AbortSignal) => Promise<Choice>
}

function ofOrganization({ id, name, slug, is_active }: OrganizationResponse): Choice {
  return { id, name, detail: is_active ? slug : `${slug}, inactive` }
}

function ofTeam({ id, name, description }: TeamResponse): Choice {
  return { id, name, detail: description ?? undefined }
}

/** What tells a person apart besides the user name. */
export function detailOf(
  person: Pick<UserResponse, 'username' | 'display_name' | 'email'>,
): string {
  const { username, display_name, email } = person
  return display_name && display_name !== username ? `${display_name}, ${email}` : email
}

function ofUser(user: UserResponse): Choice {
  return { id: user.id, name: user.username, detail: detailOf(user) }
}

export const organizationChoices: ChoiceSource = {
  key: ['organizations', 'choices'],
  find: async (search, signal) => {
    const { data } = await api.listOrganizations({
      query: { search: search || undefined, limit: SHOWN },
      signal,
    })
    return { items: data.organizations.map(ofOrganization), hasMore: data.next_cursor !== null }
  },
  read: async (id, signal) =>
    ofOrganization((await api.getOrganization({ path: { org_id: id }, signal })).data),
}

/** Teams, of one organization if it is given. */
export function teamChoices(orgId?: string | null): ChoiceSource {
  return {
    key: ['teams', 'choices', orgId ?? null],
    find: async (search, signal) => {
      const { data } = await api.listTeams({
        query: { search: search || undefined, org_id: orgId ?? undefined, limit: SHOWN },
        signal,
      })
      return { items: data.teams.map(ofTeam), hasMore: data.next_cursor !== null }
    },
    read: async (id, signal) => ofTeam((await api.getTeam({ path: { team_id: id }, signal })).data),
  }
}

/**
 * Users; with `joining` those who can join a team of that organization: its own users, and who is
 * in none yet.
 */
export function userChoices(population: Population, joining?: string | null): ChoiceSource {
  const list = async (search: string, orgId: string | undefined, signal: AbortSignal) => {
    const query = { search: search || undefined, org_id: orgId, limit: SHOWN }
    return (await operations(population).list({ query, signal })).data
  }
  return {
    key: ['users', population, 'choices', joining ?? null],
    find: async (search, signal) => {
      if (joining == null) {
        const found = await list(search, undefined, signal)
        return { items: found.users.map(ofUser), hasMore: found.next_cursor !== null }
      }
      const [own, all] = await Promise.all([
        list(search, joining, signal),
        list(search, undefined, signal),
      ])
      const free = all.users.filter((user) => user.org_id === null)
      return {
        items: [...own.users, ...free].slice(0, SHOWN).map(ofUser),
        hasMore: own.next_cursor !== null || all.next_cursor !== null,
      }
    },
    read: async (id, signal) => ofUser((await readUser(population, id, signal)).value),
  }
}

/** Who can own a team in a user's place: those who can log in, of the organization or the team. */
export function successorChoices(
  userId: string,
  among: Pick<UserQuery, 'org_id' | 'team_id'>,
): ChoiceSource {
  return {
    key: ['users', 'autobot', 'choices', 'successors', userId, among],
    find: async (search, signal) => {
      const query = { ...among, is_active: true, search: search || undefined, limit: SHOWN }
      const found = await listUsers('autobot', query, signal)
      const others = found.users.filter(({ id }) => id !== userId)
      return { items: others.map(ofUser), hasMore: found.next_cursor !== null }
    },
    read: userChoices('autobot').read,
  }
}
