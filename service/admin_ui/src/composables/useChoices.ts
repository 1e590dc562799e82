/** What can be picked, and what is. */

import { keepPreviousData, useQuery } from '@tanstack/vue-query'
import { computed, shallowRef, type ComputedRef, type Ref } from 'vue'

import type { Choice, ChoiceSource } from '@/api/choices'
import { messageOf } from '@/api/problem'

export interface PossibleChoices {
  items: ComputedRef<Choice[]>
  /** What `id` means; null while that is not known. */
  selected: ComputedRef<Choice | null>
  /** What to say of the list; empty while it is closed. */
  status: ComputedRef<string>
  /** Tell what has been picked, so that nobody asks what its id means. */
  take: (choice: Choice | null) => void
}

/** The choices that `search` finds while the list is open, and the one of the `id`. */
export function useChoices(
  source: () => ChoiceSource,
  id: Readonly<Ref<string | null>>,
  search: Readonly<Ref<string>>,
  isOpen: Readonly<Ref<boolean>>,
): PossibleChoices {
  const picked = shallowRef<Choice | null>(null)
  const isPicked = computed(() => picked.value?.id === id.value)

  const current = useQuery({
    queryKey: computed(() => [...source().key, 'one', id.value]),
    queryFn: ({ signal }) => source().read(id.value ?? '', signal),
    enabled: computed(() => id.value !== null && !isPicked.value),
  })
  const found = useQuery({
    queryKey: computed(() => [...source().key, search.value]),
    queryFn: ({ signal }) => source().find(search.value, signal),
    enabled: isOpen,
    placeholderData: keepPreviousData,
  })
  const items = computed(() => found.data.value?.items ?? [])

  return {
    items,
    selected: computed(() => {
      if (id.value === null) return null
      return isPicked.value ? picked.value : (current.data.value ?? null)
    }),
    status: computed(() => {
      if (!isOpen.value) return ''
      if (found.error.value) return messageOf(found.error.value)
      if (found.isPending.value) return 'Searching…'
      if (items.value.length === 0) return 'Nothing is found. Type another part of the name.'
      if (found.data.value?.hasMore) return 'There are more. Type a part of the name.'
      return items.value.length === 1 ? '1 choice' : `${items.value.length} choices`
    }),
    take: (choice) => (picked.value = choice),
  }
}
