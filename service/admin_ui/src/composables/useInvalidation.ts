/** What is shown of something that was changed is asked for again. */

import { useQueryClient } from '@tanstack/vue-query'

/** Make old what begins with one of the keys. */
export function useInvalidation(): (...keys: (readonly unknown[])[]) => void {
  const queryClient = useQueryClient()
  return (...keys) => {
    for (const queryKey of keys) void queryClient.invalidateQueries({ queryKey })
  }
}
