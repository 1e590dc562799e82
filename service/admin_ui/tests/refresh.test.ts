import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { Offline } from '@/api/problem'
import { reach, refreshed } from '@/session/refresh'
import { json, problem, stubLocks, stubNetwork, type Network } from './support/browser'

const PATH = '/api/slm-auth/browser/refresh'
const REFRESHED_AT = 'slm.refreshed_at'

let network: Network

beforeEach(() => {
  localStorage.clear()
  stubLocks()
  network = stubNetwork()
})
afterEach(() => vi.unstubAllGlobals())

describe('refreshed', () => {
  it('asks once for all that wait', async () => {
    network.answer(PATH, json({}))
    const sent = Date.now()
    expect(await Promise.all([refreshed(sent), refreshed(sent), refreshed(sent)])).toEqual([
      true,
      true,
      true,
    ])
    expect(network.asked()).toEqual([`POST ${PATH}`])
    expect(network.fetch.mock.calls[0]?.[1]?.headers).toMatchObject({ 'X-CSRF': '1' })
  })

  it('asks nothing when another tab has refreshed since', async () => {
    localStorage.setItem(REFRESHED_AT, String(Date.now() - 500))
    expect(await refreshed(Date.now() - 1_000)).toBe(true)
    expect(network.asked()).toEqual([])
  })

  it('asks when the last refresh was before', async () => {
    localStorage.setItem(REFRESHED_AT, String(Date.now() - 1_000))
    network.answer(PATH, json({}))
    expect(await refreshed(Date.now() - 500)).toBe(true)
    expect(network.asked()).toHaveLength(1)
  })

  it('asks when the clock was set back since the last refresh', async () => {
    localStorage.setItem(REFRESHED_AT, String(Date.now() + 3_600_000))
    network.answer(PATH, json({}))
    expect(await refreshed(Date.now())).toBe(true)
    expect(network.asked()).toHaveLength(1)
  })

  it('tells that the session has ended, and remembers no refresh', async () => {
    network.answer(PATH, problem(401, 'not_authenticated'))
    expect(await refreshed(Date.now())).toBe(false)
    expect(localStorage.getItem(REFRESHED_AT)).toBeNull()
  })

  it('does not take an outage for the end', async () => {
    network.answer(PATH, problem(503, 'database_unavailable'))
    await expect(refreshed(Date.now())).rejects.toMatchObject({
      status: 503,
      code: 'database_unavailable',
    })
  })

  it('understands an answer that is not the service’s', async () => {
    network.answer(PATH, new Response('<h1>Bad Gateway</h1>', { status: 502 }))
    await expect(refreshed(Date.now())).rejects.toMatchObject({ status: 502, code: null })
  })

  it('lets the next one try when the network was away', async () => {
    network.answer(PATH, new TypeError('Failed to fetch'), json({}))
    const both = [refreshed(Date.now()), refreshed(Date.now())]
    await expect(both[0]).rejects.toBeInstanceOf(Offline)
    expect(await both[1]).toBe(true)
  })
})

describe('reach', () => {
  it('keeps an abort what it is', async () => {
    vi.stubGlobal('fetch', () => Promise.reject(new DOMException('Aborted', 'AbortError')))
    await expect(reach('/api/x')).rejects.toMatchObject({ name: 'AbortError' })
  })
})
