/** Rows chosen on any page of a list. */

import { computed, ref, type ComputedRef } from 'vue'

export interface Selection<T> {
  items: ComputedRef<T[]>
  size: ComputedRef<number>
  has: (id: string) => boolean
  /** Choose some, or take them out. */
  set: (items: readonly T[], chosen: boolean) => void
  /** Choose these and no others. */
  replace: (items: readonly T[]) => void
}

/** A selection, empty at first. */
export function useSelection<T extends { id: string }>(): Selection<T> {
  const chosen = ref(new Map<string, T>()) as { value: Map<string, T> }
  return {
    items: computed(() => [...chosen.value.values()]),
    size: computed(() => chosen.value.size),
    has: (id) => chosen.value.has(id),
    set: (items, isChosen) => {
      for (const each of items) {
        if (isChosen) chosen.value.set(each.id, each)
        else chosen.value.delete(each.id)
      }
    },
    replace: (items) => {
      chosen.value = new Map(items.map((each) => [each.id, each]))
    },
  }
}
