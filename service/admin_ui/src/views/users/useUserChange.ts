/** Changes of one user that are made at once. */

import { useMutation } from '@tanstack/vue-query'
import { computed, type ComputedRef } from 'vue'

import type { Population, UserResponse } from '@/api/generated'
import { announce } from '@/components/announcer'
import { USER_VERBS, type UserVerb } from '@/verbs'
import { useChanged } from './useUserActions'

interface Change {
  run: () => Promise<unknown>
  /** What to say when it is done. */
  done: string
}

export interface UserChange {
  change: (run: Change['run'], done: string, onDone?: () => void) => void
  /** The same with one of the table of verbs. */
  act: (verb: UserVerb, user: UserResponse, onDone?: () => void) => void
  isBusy: ComputedRef<boolean>
  error: ComputedRef<unknown>
}

/** Run changes of the user, tell what was done, and have everything of theirs read anew. */
export function useUserChange(population: Population): UserChange {
  const changed = useChanged(population)

  const { mutate, isPending, error } = useMutation({
    mutationFn: ({ run }: Change) => run(),
    onSuccess: (_, { done }) => {
      announce(done)
      void changed()
    },
  })

  const change: UserChange['change'] = (run, done, onDone) =>
    mutate({ run, done }, { onSuccess: onDone })

  return {
    change,
    act: (verb, user, onDone) => {
      const { run, done } = USER_VERBS[verb]
      change(async () => run?.(user.id, { population }), done?.(user.username) ?? '', onDone)
    },
    isBusy: computed(() => isPending.value),
    error: computed(() => error.value),
  }
}
