/** Roles, found as other choices are; a role's name serves as its id where users are filtered. */

import type { ChoiceSource } from './choices'
import type { Population, RoleDetails } from './generated'
import { findRoles } from './populations'

/** A population's roles, picked by their id or by their name. */
export function roleChoices(population: Population, by: 'id' | 'name'): ChoiceSource {
  const choice = (role: RoleDetails) => ({
    id: role[by],
    name: role.name,
    detail: role.description ?? undefined,
  })
  return {
    key: ['roles', population, 'choices', by],
    find: async (search, signal) => {
      const { roles, next_cursor } = await findRoles(population, search, signal)
      return { items: roles.map(choice), hasMore: next_cursor !== null }
    },
    read: async (id, signal) => {
      if (by === 'name') return { id, name: id }
      const { roles } = await findRoles(population, '', signal)
      return { id, name: roles.find((role) => role.id === id)?.name ?? id }
    },
  }
}
