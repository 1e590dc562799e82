/** Changes of one user from their drawer. */

import { useMutation } from '@tanstack/vue-query'
import { computed, type ComputedRef } from 'vue'

import type { Population } from '@/api/generated'
import { announce } from '@/components/announcer'
import { useInvalidation } from './useInvalidation'

interface Change {
  run: () => Promise<unknown>
  /** What to say when it is done. */
  done: string
}

export interface UserChange {
  change: (run: Change['run'], done: string, onDone?: () => void) => void
  isBusy: ComputedRef<boolean>
  error: ComputedRef<unknown>
  /** Forget the error. */
  reset: () => void
}

/** Run changes of the user, tell what was done, and have everything of theirs read anew. */
export function useUserChange(population: Population, userId: () => string): UserChange {
  const invalidate = useInvalidation()

  const { mutate, isPending, error, reset } = useMutation({
    mutationFn: ({ run }: Change) => run(),
    onSuccess: (_, { done }) => {
      announce(done)
      invalidate(
        ['user', population, userId()],
        ['users', population],
        ['roles', population],
        ['audit', population],
      )
    },
  })

  return {
    change: (run, done, onDone) => mutate({ run, done }, { onSuccess: onDone }),
    isBusy: computed(() => isPending.value),
    error: computed(() => error.value),
    reset,
  }
}
