/** A list read page by page by the API's cursors. */

import { keepPreviousData, useQuery } from '@tanstack/vue-query'
import {
  computed,
  ref,
  toValue,
  watch,
  type ComputedRef,
  type MaybeRefOrGetter,
  type Ref,
} from 'vue'

/** Rows of a page. */
export const PAGE = 50

/** Pages that were left are forgotten after this many milliseconds, so that memory stays flat. */
const KEPT = 15_000

export interface ListPage<T> {
  items: T[]
  next: string | null
}

export interface Pages<T> {
  items: ComputedRef<T[]>
  /** From 1. */
  page: ComputedRef<number>
  hasNext: ComputedRef<boolean>
  next: () => void
  previous: () => void
  error: Ref<unknown>
  /** Nothing to show yet. */
  isPending: Ref<boolean>
  /** What is shown is about to be replaced. */
  isFetching: Ref<boolean>
  refetch: () => void
}

/**
 * Pages of what `load` gives after a cursor (null: the first). Another `key` begins anew, with what
 * was shown until the new first page is there.
 */
export function usePages<T>(
  key: MaybeRefOrGetter<readonly unknown[]>,
  load: (cursor: string | null, signal: AbortSignal) => Promise<ListPage<T>>,
): Pages<T> {
  // The cursors of the pages up to the one that is shown.
  const cursors = ref<(string | null)[]>([null])
  const cursor = computed(() => cursors.value.at(-1) ?? null)

  watch(
    () => JSON.stringify(toValue(key)),
    () => (cursors.value = [null]),
    { flush: 'sync' },
  )

  const query = useQuery({
    queryKey: computed(() => [...toValue(key), cursor.value]),
    queryFn: ({ signal }) => load(cursor.value, signal),
    placeholderData: keepPreviousData,
    gcTime: KEPT,
  })

  // Its last row was deleted; of the first page it is the news that there is nothing.
  watch(query.data, (page) => {
    if (page?.items.length === 0 && !query.isPlaceholderData.value && cursors.value.length > 1) {
      cursors.value.pop()
    }
  })

  return {
    items: computed(() => query.data.value?.items ?? []),
    page: computed(() => cursors.value.length),
    hasNext: computed(() => query.data.value?.next != null),
    next: () => {
      const following = query.data.value?.next
      if (following != null && !query.isPlaceholderData.value) cursors.value.push(following)
    },
    previous: () => {
      if (cursors.value.length > 1) cursors.value.pop()
    },
    error: query.error,
    isPending: query.isPending,
    isFetching: query.isFetching,
    refetch: () => void query.refetch(),
  }
}
