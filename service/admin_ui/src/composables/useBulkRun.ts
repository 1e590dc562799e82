/** A run over many items that a dialog shows. */

import { computed, onScopeDispose, shallowRef, type ComputedRef, type ShallowRef } from 'vue'

import { runAll, type BulkResult, type BulkWork } from './bulk'

export interface BulkRun<T> {
  /** So far; null before it began. */
  result: ShallowRef<BulkResult<T> | null>
  isRunning: ComputedRef<boolean>
  start: (items: readonly T[], work: BulkWork<T>, chunk: number) => Promise<BulkResult<T>>
  cancel: () => void
}

/** Requests at once: the hosts have two cores. */
const AT_ONCE = 4

/** A run that ends when its component goes. */
export function useBulkRun<T>(): BulkRun<T> {
  const result = shallowRef<BulkResult<T> | null>(null)
  const running = shallowRef<AbortController | null>(null)

  function cancel(): void {
    running.value?.abort()
  }
  onScopeDispose(cancel)

  return {
    result,
    isRunning: computed(() => running.value !== null),
    start: async (items, work, chunk) => {
      const controller = new AbortController()
      running.value = controller
      result.value = { done: [], failures: [], untried: [...items] }
      const end = await runAll(items, work, {
        chunk,
        // Large chunks are about one thing, which they would wait for.
        atOnce: chunk === 1 ? AT_ONCE : 1,
        signal: controller.signal,
        onProgress: (soFar) => (result.value = soFar),
      })
      result.value = end
      running.value = null
      return end
    },
    cancel,
  }
}
