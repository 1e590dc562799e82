/** What is done to one user, from the list or from the drawer. */

import { useQueryClient } from '@tanstack/vue-query'

import { successorChoices } from '@/api/choices'
import type { Population, UserResponse } from '@/api/generated'
import { useVerbs, type Verbs } from '@/composables/useVerbs'
import { USER_VERBS, type UserVerb } from '@/verbs'

/** After a change: what is shown of users, of that one, and of what happened to them is old. */
export function useChanged(population: Population): () => Promise<void> {
  const queryClient = useQueryClient()
  return async () => {
    const of = [
      ['users', population],
      ['user', population],
      ['audit', population],
      ['roles', population],
      // Who is logged in may be one of them.
      ...(population === 'slm' ? [['me']] : []),
      ...(population === 'autobot' ? [['team'], ['teams'], ['organizations']] : []),
    ]
    await Promise.all(of.map((queryKey) => queryClient.invalidateQueries({ queryKey })))
  }
}

export type UserActions = Verbs<UserVerb, UserResponse>

/** The actions on the users of a population. `onGone` hears of each who is deleted. */
export function useUserActions(
  population: Population,
  onGone: (user: UserResponse) => void,
): UserActions {
  const changed = useChanged(population)
  return useVerbs({
    verbs: USER_VERBS,
    population,
    nameOf: (user) => user.username,
    successors: (user) => successorChoices(user.id, { org_id: user.org_id }),
    changed: () => void changed(),
    onGone,
  })
}
