import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { json, problem, stubLocks, stubNetwork, type Network } from './support/browser'

const REFRESH = '/api/slm-auth/browser/refresh'
const ID = '0193a1c2-7d4e-7000-8000-000000000001'
const expired = problem(401, 'not_authenticated')

type Client = typeof import('@/api/client')

let network: Network
let client: Client
const ended = vi.fn()

beforeEach(async () => {
  localStorage.clear()
  stubLocks()
  network = stubNetwork()
  ended.mockReset()
  vi.resetModules()
  client = await import('@/api/client')
  client.onSessionEnded(ended)
})
afterEach(() => vi.unstubAllGlobals())

const requests = () =>
  network.fetch.mock.calls.map(([input]) => input).filter((input) => typeof input !== 'string')

describe('sessionFetch', () => {
  it('repeats an expired request once, with the same body and headers', async () => {
    network.answer('/api/teams', expired, json({ id: 1 }, 201))
    network.answer(REFRESH, json({}))
    const response = await client.sessionFetch('/api/teams', {
      method: 'POST',
      body: '{"name":"Night shift"}',
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': 'k' },
    })
    expect(response.status).toBe(201)
    expect(network.asked()).toEqual(['POST /api/teams', `POST ${REFRESH}`, 'POST /api/teams'])
    for (const request of requests()) {
      expect(request.headers.get('X-CSRF')).toBe('1')
      expect(request.headers.get('Idempotency-Key')).toBe('k')
      expect(await request.text()).toBe('{"name":"Night shift"}')
    }
    expect(ended).not.toHaveBeenCalled()
  })

  it('repeats a Request that was given, body and all', async () => {
    network.answer('/api/teams', expired, json({}))
    network.answer(REFRESH, json({}))
    const given = new Request(new URL('/api/teams', location.origin), { method: 'PUT', body: 'b' })
    await client.sessionFetch(given)
    expect(await Promise.all(requests().map((request) => request.text()))).toEqual(['b', 'b'])
  })

  it('refreshes once for many', async () => {
    network.answer('/api/a', expired, json({}))
    network.answer('/api/b', expired, json({}))
    network.answer(REFRESH, json({}))
    const both = await Promise.all([client.sessionFetch('/api/a'), client.sessionFetch('/api/b')])
    expect(both.map((response) => response.status)).toEqual([200, 200])
    expect(network.asked().filter((each) => each.includes('refresh'))).toHaveLength(1)
  })

  it('tells that the session has ended', async () => {
    network.answer('/api/teams', expired)
    network.answer(REFRESH, problem(401, 'not_authenticated'))
    expect((await client.sessionFetch('/api/teams')).status).toBe(401)
    expect(ended).toHaveBeenCalledOnce()
    expect(network.asked()).toHaveLength(2)
  })

  it('tells it too when the session ends between the refresh and the repetition', async () => {
    network.answer('/api/teams', expired)
    network.answer(REFRESH, json({}))
    expect((await client.sessionFetch('/api/teams')).status).toBe(401)
    expect(ended).toHaveBeenCalledOnce()
    expect(network.asked()).toHaveLength(3)
  })

  it.each(['/api/slm-auth/browser/login', '/api/slm-auth/browser/logout'])(
    'does not refresh for the 401 of %s',
    async (path) => {
      network.answer(path, problem(401, 'invalid_credentials'))
      expect((await client.sessionFetch(path, { method: 'POST' })).status).toBe(401)
      expect(network.asked()).toEqual([`POST ${path}`])
      expect(ended).not.toHaveBeenCalled()
    },
  )

  it('repeats nothing in the session of who logged in in the meantime', async () => {
    network.answer('/api/teams/1', () => {
      client.sessionBegan()
      return expired.clone()
    })
    network.answer(REFRESH, json({}))
    const response = await client.sessionFetch('/api/teams/1', { method: 'DELETE' })
    expect(response.status).toBe(401)
    expect(network.asked().filter((each) => each.startsWith('DELETE'))).toHaveLength(1)
    expect(ended).not.toHaveBeenCalled()
  })

  it('does not take a lost network for the end of the session', async () => {
    network.answer('/api/teams', expired)
    network.answer(REFRESH, new TypeError('Failed to fetch'))
    await expect(client.sessionFetch('/api/teams')).rejects.toMatchObject({ name: 'Offline' })
    expect(ended).not.toHaveBeenCalled()
  })
})

describe('the generated client', () => {
  it('throws what the API answered as an ApiProblem, and no network as Offline', async () => {
    const api = await import('@/api/generated')
    network.answer('/api/slm-auth/me', problem(503, 'database_unavailable'))
    await expect(api.getCurrentUser()).rejects.toMatchObject({
      name: 'ApiProblem',
      status: 503,
      code: 'database_unavailable',
    })
    network.answer('/api/slm-auth/me', new TypeError('Failed to fetch'))
    await expect(api.getCurrentUser()).rejects.toMatchObject({ name: 'Offline' })
  })

  it.each(['export', 'import', '..', '.', '', '%2e%2e', `${ID}/sessions`])(
    'asks for nothing by the id %j, which an address may hold',
    async (id) => {
      const api = await import('@/api/generated')
      await expect(api.getAutobotUser({ path: { user_id: id } })).rejects.toMatchObject({
        name: 'ApiProblem',
        code: 'not_found',
      })
      expect(network.asked()).toEqual([])
      network.answer(`/api/autobot-users/${ID}`, json({ id: ID }))
      expect((await api.getAutobotUser({ path: { user_id: ID } })).data).toEqual({ id: ID })
    },
  )
})
