/** A browser's tabs and network, for tests of the session. */

import { vi, type Mock } from 'vitest'

/** Wait until the check passes: on a slow machine too, where the default second is too short. */
export const eventually = <T>(check: () => T | Promise<T>): Promise<T> =>
  vi.waitFor(check, { timeout: 30_000 })

type Answer = Response | Error | (() => Response | Promise<Response>)

export interface Network {
  fetch: Mock<(input: RequestInfo, init?: RequestInit) => Promise<Response>>
  /** What was asked for, in order: method and path. */
  asked: () => string[]
  /** What the API was sent with a method, in order: path with query, and body or null. */
  sent: (method: string) => Promise<[string, unknown][]>
  /** Answer a path, first with the first of the answers; the last one stays. */
  answer: (path: string, ...answers: Answer[]) => void
}

export const json = (body: unknown, status = 200): Response =>
  new Response(JSON.stringify(body), {
    status,
    headers: { 'Content-Type': 'application/json' },
  })

export const problem = (status: number, code: string): Response =>
  json({ code, status, title: code, detail: code }, status)

/** A network whose answers are given by path; what is not given fails the test. */
export function stubNetwork(): Network {
  const answers = new Map<string, Answer[]>()
  const asked: string[] = []
  const fetch = vi.fn(async (input: RequestInfo, init?: RequestInit) => {
    const isRequest = typeof input !== 'string'
    const path = new URL(isRequest ? input.url : input, location.origin).pathname
    asked.push(`${(isRequest ? input.method : init?.method) ?? 'GET'} ${path}`)
    const given = answers.get(path)
    if (given === undefined) throw new Error(`Nobody answers ${path}.`)
    const answer = given.length > 1 ? given.shift() : given[0]
    if (answer instanceof Error) throw answer
    return answer instanceof Response ? answer.clone() : answer!()
  })
  vi.stubGlobal('fetch', fetch)
  return {
    fetch,
    asked: () => asked,
    sent: (method) =>
      Promise.all(
        fetch.mock.calls
          .map(([input]) => input as Request)
          .filter((request) => request.method === method)
          .map(async (request) => {
            const { pathname, search } = new URL(request.url)
            return [pathname + search, JSON.parse((await request.clone().text()) || 'null')]
          }),
      ),
    answer: (path, ...given) => void answers.set(path, given),
  }
}

/** Locks as the browser's: one holder per name, the others wait in order. */
export function stubLocks(): void {
  const tails = new Map<string, Promise<unknown>>()
  const request = <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const mine = (tails.get(name) ?? Promise.resolve()).then(work)
    tails.set(
      name,
      mine.catch(() => undefined),
    )
    return mine
  }
  Object.defineProperty(navigator, 'locks', { value: { request }, configurable: true })
}

/** The channel between tabs: what this tab has told, and a way to tell it something. */
export function stubChannel(): { told: unknown[]; hear: (signal: string) => void } {
  const told: unknown[] = []
  const listeners: ((event: MessageEvent) => void)[] = []
  class Channel {
    postMessage(signal: unknown): void {
      told.push(signal)
    }
    addEventListener(_type: string, listener: (event: MessageEvent) => void): void {
      listeners.push(listener)
    }
  }
  vi.stubGlobal('BroadcastChannel', Channel)
  return {
    told,
    hear: (signal) =>
      listeners.forEach((each) => each(new MessageEvent('message', { data: signal }))),
  }
}
