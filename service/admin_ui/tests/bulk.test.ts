import { describe, expect, it, vi } from 'vitest'

import { ApiProblem, Offline } from '@/api/problem'
import { runAll, single, together, type BulkOptions } from '@/composables/bulk'

const refused = new ApiProblem(409, 'last_administrator', 'The last one stays.')
const taken = new ApiProblem(409, 'duplicate', 'A member already.')

function options(given: Partial<BulkOptions<number>> = {}): BulkOptions<number> {
  return {
    chunk: 1,
    atOnce: 4,
    signal: new AbortController().signal,
    onProgress: () => undefined,
    ...given,
  }
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index)

describe('runAll', () => {
  it('does all, at most so many at once', async () => {
    let now = 0
    let most = 0
    const work = single<number>(async () => {
      most = Math.max(most, ++now)
      await Promise.resolve()
      now -= 1
    })
    const result = await runAll(numbers(20), work, options())
    expect(result.done.toSorted((a, b) => a - b)).toEqual(numbers(20))
    expect(most).toBe(4)
  })

  it('goes on after a failure and says who it was', async () => {
    const work = single(async (item: number) => {
      if (item === 3) throw refused
    })
    const result = await runAll(numbers(8), work, options())
    expect(result.failures).toEqual([{ item: 3, error: refused }])
    expect(result.done).toHaveLength(7)
    expect(result.untried).toEqual([])
  })

  it.each([
    new Offline(),
    new ApiProblem(401, 'not_authenticated', 'Log in first.'),
    new ApiProblem(503, 'database_unavailable', 'It is away.'),
  ])('stops when nobody else would fare better: $message', async (error) => {
    const work = single(async (item: number) => {
      if (item === 2) throw error
    })
    const result = await runAll(numbers(9), work, options({ atOnce: 1 }))
    expect(result.done).toEqual([0, 1])
    expect(result.failures).toEqual([{ item: 2, error }])
    expect(result.untried).toEqual([3, 4, 5, 6, 7, 8])
  })

  it('begins nothing new once cancelled, and finishes what is under way', async () => {
    const cancelling = new AbortController()
    const work = single(async (item: number) => {
      if (item === 1) cancelling.abort()
      await Promise.resolve()
    })
    const result = await runAll(numbers(9), work, options({ atOnce: 2, signal: cancelling.signal }))
    expect(result.done).toEqual([0, 1])
    expect(result.untried).toHaveLength(7)
  })

  it('tells how far it is', async () => {
    const progress = vi.fn<BulkOptions<number>['onProgress']>()
    await runAll(numbers(5), async () => [], options({ chunk: 2, atOnce: 1, onProgress: progress }))
    expect(progress.mock.calls.map(([{ untried }]) => untried.length)).toEqual([3, 1, 0])
  })
})

describe('together', () => {
  it('asks once for a chunk', async () => {
    const all = vi.fn<(items: readonly number[]) => Promise<void>>(async () => undefined)
    const alone = vi.fn<(item: number) => Promise<void>>(async () => undefined)
    const result = await runAll(numbers(5), together(all, alone), options({ chunk: 3 }))
    expect(all.mock.calls).toEqual([[[0, 1, 2]], [[3, 4]]])
    expect(alone).not.toHaveBeenCalled()
    expect(result.done).toHaveLength(5)
  })

  it('tries each alone when one of a chunk is refused', async () => {
    const work = together<number>(
      async () => {
        throw taken
      },
      async (item) => {
        if (item === 1) throw taken
      },
    )
    const result = await runAll(numbers(3), work, options({ chunk: 3 }))
    expect(result.done).toEqual([0, 2])
    expect(result.failures).toEqual([{ item: 1, error: taken }])
  })

  it('tries nobody alone when the server is away', async () => {
    const alone = vi.fn<(item: number) => Promise<void>>(async () => undefined)
    const work = together<number>(async () => {
      throw new Offline()
    }, alone)
    const result = await runAll(numbers(3), work, options({ chunk: 3 }))
    expect(alone).not.toHaveBeenCalled()
    expect(result.failures).toHaveLength(3)
  })
})
