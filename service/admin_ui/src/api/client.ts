/** The way to the API: the cookies of this origin, one retry after a refresh, errors as classes. */

import { client } from './generated/client.gen'
import { ApiProblem } from './problem'
import { UUID } from './uuid'
import { CSRF_HEADER, reach, refreshed } from '@/session/refresh'

// These answer 401 for reasons of their own; a refresh would not help.
const OWN_REASONS = ['/api/slm-auth/browser/login', '/api/slm-auth/browser/logout']

let sessionEnded: () => void = () => undefined
let confirmed: () => Promise<boolean> = async () => false
let sessions = 0

/** Say what is to happen when the session turns out to have ended. */
export function onSessionEnded(callback: () => void): void {
  sessionEnded = callback
}

/** Say how somebody is asked to prove again who they are; false: they did not. */
export function onConfirmationAsked(ask: () => Promise<boolean>): void {
  confirmed = ask
}

/** Say that a session has begun: what was sent in the one before is not repeated in it. */
export function sessionBegan(): void {
  sessions += 1
}

/**
 * fetch() with the session: an expired one is gone on with, and whoever is asked to prove who they
 * are may do so; then the request is repeated. Throws ApiProblem when they did not.
 *
 * Each request is made of what is given: a file is read anew, not kept in memory.
 */
export async function sessionFetch(
  input: RequestInfo | URL,
  init?: RequestInit,
): Promise<Response> {
  const response = await goingOn(input, init)
  if (!asksForProof(response)) return response
  if (await confirmed()) return goingOn(input, init)
  throw new ApiProblem(
    401,
    'recent_authentication_required',
    'Nothing was done: you did not confirm that it is you.',
  )
}

/** RFC 9470: the session is good, but was begun too long ago for this. */
function asksForProof(response: Response): boolean {
  const challenge = response.headers.get('WWW-Authenticate') ?? ''
  return response.status === 401 && challenge.includes('insufficient_user_authentication')
}

async function goingOn(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const session = sessions
  const sent = Date.now()
  const request = withHeader(input, init)
  const response = await reach(request)
  if (
    response.status !== 401 ||
    asksForProof(response) ||
    OWN_REASONS.includes(new URL(request.url).pathname)
  ) {
    return response
  }
  const goesOn = await refreshed(sent)
  if (session !== sessions) return response
  const repeated = goesOn ? await reach(withHeader(input, init)) : response
  if (repeated.status === 401 && !asksForProof(repeated) && session === sessions) sessionEnded()
  return repeated
}

function withHeader(input: RequestInfo | URL, init?: RequestInit): Request {
  const request = new Request(input instanceof Request ? input.clone() : input, init)
  request.headers.set('X-CSRF', CSRF_HEADER['X-CSRF'])
  return request
}

client.setConfig({ baseUrl: location.origin, fetch: sessionFetch, throwOnError: true })
// Ids come from the page's address too, which anybody may have made up: in a path `export` or `..`
// would ask for something else, with the rights of whoever follows the link.
client.interceptors.request.use((request, { path = {} }) => {
  if (Object.values(path).every((id) => UUID.test(String(id)))) return request
  throw new ApiProblem(404, 'not_found', 'There is nothing with this id.')
})
client.interceptors.error.use((error, response) =>
  response === undefined ? error : ApiProblem.of(response, error),
)
