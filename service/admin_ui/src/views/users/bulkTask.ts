/** Requests that do something to many users. */

import type { UserResponse } from '@/api/generated'
import { single, together, type BulkWork } from '@/composables/bulk'
import { USER_VERBS, type Circumstances, type UserVerb } from '@/verbs'

export interface BulkTask {
  work: BulkWork<UserResponse>
  /** Users per request. */
  chunk: number
}

/** What is to be done. */
export function bulkTask(name: UserVerb, circumstances: Circumstances): BulkTask {
  const { run, bulk } = USER_VERBS[name]
  const one = async (user: UserResponse) => run?.(user.id, circumstances)
  const many = bulk?.together
  if (many === undefined) return { work: single(one), chunk: 1 }
  const all = (users: readonly UserResponse[]) =>
    many.run(
      users.map(({ id }) => id),
      circumstances,
    )
  return { work: together(all, one), chunk: many.atMost }
}
