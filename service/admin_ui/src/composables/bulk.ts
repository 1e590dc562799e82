/** The same done to many, a few at a time. */

import { isProblem, Offline } from '@/api/problem'

export interface Failure<T> {
  item: T
  error: unknown
}

export interface BulkResult<T> {
  done: T[]
  failures: Failure<T>[]
  /** Those that nothing was sent about: it was cancelled, or went on no longer. */
  untried: T[]
}

export interface BulkOptions<T> {
  /** Items per call of `work`. */
  chunk: number
  /** Calls at once. */
  atOnce: number
  /** What is under way is finished, nothing new is begun. */
  signal: AbortSignal
  /** After each call. */
  onProgress: (result: BulkResult<T>) => void
}

/** Do it to a chunk and say who failed. What it throws failed for all of the chunk. */
export type BulkWork<T> = (items: readonly T[]) => Promise<Failure<T>[]>

/** Do `work` to all items. Never throws. */
export async function runAll<T>(
  items: readonly T[],
  work: BulkWork<T>,
  { chunk, atOnce, signal, onProgress }: BulkOptions<T>,
): Promise<BulkResult<T>> {
  const result: BulkResult<T> = { done: [], failures: [], untried: [...items] }
  let isOver = false

  async function worker(): Promise<void> {
    while (!isOver && !signal.aborted && result.untried.length > 0) {
      const taken = result.untried.splice(0, chunk)
      const failures = await work(taken).catch((error: unknown) =>
        taken.map((item) => ({ item, error })),
      )
      const failed = new Set(failures.map(({ item }) => item))
      result.done.push(...taken.filter((item) => !failed.has(item)))
      result.failures.push(...failures)
      isOver ||= failures.some(({ error }) => concernsAll(error))
      onProgress({
        done: [...result.done],
        failures: [...result.failures],
        untried: [...result.untried],
      })
    }
  }

  await Promise.all(Array.from({ length: atOnce }, worker))
  return result
}

/** Whether the next one would fail for the same reason. */
function concernsAll(error: unknown): boolean {
  return (
    error instanceof Offline ||
    isProblem(error, 'not_authenticated') ||
    isProblem(error, 'database_unavailable')
  )
}

/** Work on a single item. */
export function single<T>(work: (item: T) => Promise<unknown>): BulkWork<T> {
  return async ([item]) => {
    if (item !== undefined) await work(item)
    return []
  }
}

/** Work that takes many at once, but all or none; when it is refused, each is tried alone. */
export function together<T>(
  all: (items: readonly T[]) => Promise<unknown>,
  alone: (item: T) => Promise<unknown>,
): BulkWork<T> {
  return async (items) => {
    try {
      await all(items)
      return []
    } catch (error) {
      if (concernsAll(error)) throw error
    }
    const failures: Failure<T>[] = []
    for (const item of items) {
      try {
        await alone(item)
      } catch (error) {
        failures.push({ item, error })
      }
    }
    return failures
  }
}
