/**
 * Going on with a session when its access cookie has expired: one tab asks, all others wait.
 *
 * Two tabs that refresh at once would use the same refresh token twice, which ends a session. No
 * script sees a token; what tabs share is only when the last refresh was.
 */

import { ApiProblem, Offline } from '@/api/problem'

/** The header without which the API refuses what cookies alone would allow. */
export const CSRF_HEADER = { 'X-CSRF': '1' } as const

const LOCK = 'slm-refresh'
const REFRESHED_AT = 'slm.refreshed_at'

/**
 * Refresh, unless any tab has done so since `since` (milliseconds since 1970). False: the session
 * has ended. Throws Offline, and ApiProblem when the service cannot tell.
 */
export async function refreshed(since: number): Promise<boolean> {
  return navigator.locks.request(LOCK, async () => {
    const last = Number(localStorage.getItem(REFRESHED_AT))
    // Later than now: the clock was set back, and it says nothing.
    if (last >= since && last <= Date.now()) return true
    const response = await reach('/api/slm-auth/browser/refresh', {
      method: 'POST',
      headers: CSRF_HEADER,
    })
    if (response.status === 401) return false
    if (!response.ok) throw ApiProblem.of(response, await response.json().catch(() => null))
    localStorage.setItem(REFRESHED_AT, String(Date.now()))
    return true
  })
}

/** fetch(), which throws Offline where that throws a TypeError. An abort stays one. */
export async function reach(input: RequestInfo, init?: RequestInit): Promise<Response> {
  try {
    return await fetch(input, init)
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new Offline()
  }
}
