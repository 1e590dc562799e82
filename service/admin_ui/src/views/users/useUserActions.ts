/** What is done to one user, from the list or from the drawer. */

import { useMutation, useQueryClient } from '@tanstack/vue-query'
import { computed, shallowRef, type ComputedRef, type ShallowRef } from 'vue'

import { successorChoices } from '@/api/choices'
import type { Population, UserResponse } from '@/api/generated'
import { deleteUser, endSessions, unlockUser, updateUser } from '@/api/populations'
import { messageOf } from '@/api/problem'
import { announce, announceFailure } from '@/components/announcer'
import type { MenuAction } from '@/components/AppMenu.vue'
import { withNewOwner } from '@/composables/newOwner'
import { useRights } from '@/session/session'
import { labelOf, verbsFor, type Verb } from '@/verbs'

export interface Asked {
  verb: Verb
  user: UserResponse
}

interface Direct {
  run: (population: Population, id: string, newOwner?: string) => Promise<unknown>
  done: string
}

/** The verbs that are done at once or after a yes. */
const DIRECT: Partial<Record<Verb, Direct>> = {
  disable: {
    run: (population, id, newOwner) =>
      updateUser(population, id, { is_active: false }, null, newOwner),
    done: 'is disabled, and their sessions have ended.',
  },
  enable: {
    run: (population, id) => updateUser(population, id, { is_active: true }, null),
    done: 'is enabled.',
  },
  'end-sessions': { run: endSessions, done: 'is logged out everywhere.' },
  unlock: { run: unlockUser, done: 'is unlocked and can try to log in again.' },
  delete: { run: deleteUser, done: 'is deleted.' },
}

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

export interface UserActions {
  /** What a dialog is open about. */
  asked: ShallowRef<Asked | null>
  /** The menu of a user, as far as the person may. */
  actionsFor: (user: UserResponse) => MenuAction[]
  /** Begin one: at once, or with a dialog. */
  ask: (verb: Verb, user: UserResponse) => void
  /** Do what was asked for, after a yes. */
  confirm: () => void
  isBusy: ComputedRef<boolean>
  error: ComputedRef<unknown>
}

/** The actions on the users of a population. `onDeleted` hears of each who is gone. */
export function useUserActions(
  population: Population,
  onDeleted: (user: UserResponse) => void,
): UserActions {
  const { can, isOneself } = useRights()
  const changed = useChanged(population)
  const asked = shallowRef<Asked | null>(null)

  const { mutate, isPending, error, reset } = useMutation({
    mutationFn: ({ verb, user }: Asked) => {
      const successors = successorChoices(user.id, { org_id: user.org_id })
      return withNewOwner({ verb, successors }, async (newOwner) =>
        DIRECT[verb]?.run(population, user.id, newOwner),
      )
    },
    onSuccess: (_, what) => {
      const { verb, user } = what
      announce(`${user.username} ${DIRECT[verb]?.done}`)
      // Not the dialog that was opened meanwhile about something else.
      if (asked.value === what) asked.value = null
      void changed()
      if (verb === 'delete') onDeleted(user)
    },
    onError: (failure, what) => {
      // Its dialog shows it itself.
      if (asked.value !== what) announceFailure(`${what.user.username}: ${messageOf(failure)}`)
    },
  })

  function ask(verb: Verb, user: UserResponse): void {
    reset()
    if (verb === 'enable' || verb === 'unlock') mutate({ verb, user })
    else asked.value = { verb, user }
  }

  return {
    asked,
    ask,
    actionsFor: (user) =>
      verbsFor(population, user, can, isOneself(population, user.id)).map((verb) => ({
        label: labelOf(verb),
        danger: verb === 'delete',
        run: () => ask(verb, user),
      })),
    confirm: () => {
      if (asked.value !== null) mutate(asked.value)
    },
    isBusy: computed(() => isPending.value),
    error: computed(() => error.value),
  }
}
