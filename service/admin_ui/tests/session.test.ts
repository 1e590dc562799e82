import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import {
  eventually,
  json,
  problem,
  stubChannel,
  stubLocks,
  stubNetwork,
  type Network,
} from './support/browser'

const LOGIN = '/api/slm-auth/browser/login'
const LOGOUT = '/api/slm-auth/browser/logout'
const REFRESH = '/api/slm-auth/browser/refresh'
const ME = '/api/slm-auth/me'

const person = (id: string) => ({ id, username: `user-${id}`, permissions: [], is_admin: true })

type Session = typeof import('@/session/session')

let network: Network
let channel: ReturnType<typeof stubChannel>
let session: Session
const replace = vi.fn()
const reload = vi.fn()

beforeEach(async () => {
  localStorage.clear()
  stubLocks()
  network = stubNetwork()
  channel = stubChannel()
  replace.mockReset()
  reload.mockReset()
  vi.spyOn(location, 'replace').mockImplementation(replace)
  vi.spyOn(location, 'reload').mockImplementation(reload)
  vi.resetModules()
  session = await import('@/session/session')
})
afterEach(() => {
  session.queryClient.clear()
  vi.unstubAllGlobals()
})

/** Somebody has worked here, and their work is in the cache. */
function shows(id: string): void {
  session.queryClient.setQueryData(['me'], person(id))
  session.queryClient.setQueryData(['users', 'slm'], ['what they saw'])
}

const cached = () => session.queryClient.getQueryCache().getAll()

describe('logIn', () => {
  const begun = (mustChange: boolean) => json({ session_id: 's', must_change_password: mustChange })

  it('begins with who has logged in, and tells the other tabs', async () => {
    network.answer(LOGIN, begun(false))
    network.answer(ME, json(person('a')))
    expect(await session.logIn('user-a', 'secret')).toBe('ready')
    expect(session.personShown()?.id).toBe('a')
    expect(session.mayHaveSession()).toBe(true)
    expect(channel.told).toEqual(['began'])
    expect(replace).not.toHaveBeenCalled()
  })

  it('goes on where the same person was', async () => {
    shows('a')
    session.ending.value = 'lost'
    network.answer(LOGIN, begun(false))
    network.answer(ME, json(person('a')))
    expect(await session.logIn('user-a', 'secret')).toBe('ready')
    expect(session.ending.value).toBeNull()
    expect(session.queryClient.getQueryData(['users', 'slm'])).toBeDefined()
  })

  it('leaves nothing of one person to another', async () => {
    shows('a')
    session.ending.value = 'lost'
    network.answer(LOGIN, begun(false))
    network.answer(ME, json(person('b')))
    expect(await session.logIn('user-b', 'secret')).toBe('leaving')
    expect(replace).toHaveBeenCalledWith('/')
    expect(cached()).toEqual([])
    // The page below stays covered until it is gone.
    expect(session.ending.value).toBe('lost')
  })

  it('leaves nothing either when the password must be changed first', async () => {
    shows('a')
    session.ending.value = 'lost'
    network.answer(LOGIN, begun(true))
    expect(await session.logIn('user-b', 'one-time')).toBe('leaving')
    expect(replace).toHaveBeenCalledWith('/change-password')
    expect(cached()).toEqual([])
  })

  it('keeps asking while it is not known who has logged in', async () => {
    shows('a')
    session.ending.value = 'lost'
    network.answer(LOGIN, begun(false))
    network.answer(ME, problem(503, 'database_unavailable'))
    await expect(session.logIn('user-a', 'secret')).rejects.toMatchObject({ status: 503 })
    expect(session.ending.value).toBe('lost')
  })

  it('changes nothing when it is refused', async () => {
    network.answer(LOGIN, problem(401, 'invalid_credentials'))
    await expect(session.logIn('user-a', 'wrong')).rejects.toMatchObject({
      code: 'invalid_credentials',
    })
    expect(channel.told).toEqual([])
    expect(session.ending.value).toBeNull()
  })
})

describe('logOut', () => {
  it('forgets everything, and tells the other tabs', async () => {
    shows('a')
    network.answer(LOGOUT, new Response(null, { status: 204 }))
    localStorage.setItem('slm.logged_in', 'yes')
    await session.logOut()
    expect(cached()).toEqual([])
    expect(session.mayHaveSession()).toBe(false)
    expect(localStorage.getItem('slm.logged_in')).toBeNull()
    expect(session.ending.value).toBe('left')
    expect(channel.told).toEqual(['ended'])
  })

  it('leaves everything as it is when the service does not answer', async () => {
    shows('a')
    network.answer(LOGOUT, problem(503, 'database_unavailable'))
    await expect(session.logOut()).rejects.toMatchObject({ status: 503 })
    expect(session.personShown()?.id).toBe('a')
    expect(session.ending.value).toBeNull()
    expect(channel.told).toEqual([])
  })
})

describe('the end of the session', () => {
  it('is lost when the service knows it no longer', async () => {
    shows('a')
    localStorage.setItem('slm.logged_in', 'yes')
    network.answer(ME, problem(401, 'not_authenticated'))
    network.answer(REFRESH, problem(401, 'not_authenticated'))
    await expect(
      session.queryClient.fetchQuery({ ...session.currentUserQuery, staleTime: 0 }),
    ).rejects.toThrow()
    expect(session.ending.value).toBe('lost')
    expect(localStorage.getItem('slm.logged_in')).toBeNull()
    // What was typed stays on the page, and so does what it is about.
    expect(session.queryClient.getQueryData(['users', 'slm'])).toBeDefined()
  })

  it('stays left when late answers say that it has ended', async () => {
    network.answer(LOGOUT, new Response(null, { status: 204 }))
    network.answer(ME, problem(401, 'not_authenticated'))
    network.answer(REFRESH, problem(401, 'not_authenticated'))
    await session.logOut()
    await expect(session.queryClient.fetchQuery(session.currentUserQuery)).rejects.toThrow()
    expect(session.ending.value).toBe('left')
  })
})

describe('another tab', () => {
  it('logged out: nothing is kept', () => {
    shows('a')
    channel.hear('ended')
    expect(cached()).toEqual([])
    expect(session.ending.value).toBe('left')
  })

  it('logged in the same person: what was typed here stays', async () => {
    shows('a')
    session.ending.value = 'lost'
    network.answer(ME, json(person('a')))
    channel.hear('began')
    await eventually(() => expect(session.ending.value).toBeNull())
    expect(session.queryClient.getQueryData(['users', 'slm'])).toBeDefined()
    expect(replace).not.toHaveBeenCalled()
  })

  it.each([
    ['while the session here was good', null],
    ['after it was lost', 'lost'],
  ] as const)('logged in another person %s: nothing of the first remains', async (_, ending) => {
    shows('a')
    session.ending.value = ending
    network.answer(ME, json(person('b')))
    channel.hear('began')
    await eventually(() => expect(replace).toHaveBeenCalledWith('/'))
    expect(cached()).toEqual([])
  })

  it('logged in, and nobody can tell whom: nothing remains', async () => {
    shows('a')
    network.answer(ME, problem(403, 'password_change_required'))
    channel.hear('began')
    await eventually(() => expect(replace).toHaveBeenCalledWith('/'))
    expect(cached()).toEqual([])
  })

  it('does not disturb the login page', async () => {
    channel.hear('began')
    await Promise.resolve()
    expect(network.asked()).toEqual([])
    expect(replace).not.toHaveBeenCalled()
  })
})

it('reads a page anew that the browser had kept aside', () => {
  const show = (persisted: boolean) =>
    window.dispatchEvent(Object.assign(new Event('pageshow'), { persisted }))
  show(false)
  expect(reload).not.toHaveBeenCalled()
  show(true)
  expect(reload).toHaveBeenCalled()
})
