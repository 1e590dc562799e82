/** The way to the API: the cookies of this origin, one retry after a refresh, errors as classes. */

import { client } from './generated/client.gen'
import { ApiProblem } from './problem'
import { CSRF_HEADER, reach, refreshed } from '@/session/refresh'

// These answer 401 for reasons of their own; a refresh would not help.
const OWN_REASONS = ['/api/slm-auth/browser/login', '/api/slm-auth/browser/logout']

let sessionEnded: () => void = () => undefined

/** Say what is to happen when the session turns out to have ended. */
export function onSessionEnded(callback: () => void): void {
  sessionEnded = callback
}

/** fetch() with the session: an expired one is gone on with, once, and the request repeated. */
export async function sessionFetch(
  input: RequestInfo | URL,
  init?: RequestInit,
): Promise<Response> {
  const request = new Request(input, init)
  request.headers.set('X-CSRF', CSRF_HEADER['X-CSRF'])
  const again = request.clone()
  const sent = Date.now()
  const response = await reach(request)
  if (response.status !== 401 || OWN_REASONS.includes(new URL(request.url).pathname)) {
    return response
  }
  const repeated = (await refreshed(sent)) ? await reach(again) : response
  if (repeated.status === 401) sessionEnded()
  return repeated
}

client.setConfig({ baseUrl: location.origin, fetch: sessionFetch, throwOnError: true })
client.interceptors.error.use((error, response) =>
  response === undefined ? error : ApiProblem.of(response, error),
)
