/** Who is logged in, and what they may do. */

import { QueryClient, queryOptions, useQuery } from '@tanstack/vue-query'
import { computed, ref, type ComputedRef } from 'vue'

import { onSessionEnded, sessionBegan } from '@/api/client'
import {
  beginBrowserSession,
  endBrowserSession,
  getCurrentUser,
  type CurrentUserResponse,
  type Permission,
  type Population,
} from '@/api/generated'
import { ApiProblem } from '@/api/problem'
import { CSRF_HEADER } from './refresh'
import { onSignal, tell } from './signals'
import { keepsSiteData } from './storage'

/** How long an answer is shown without asking again, in milliseconds. */
const FRESH = 15_000

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: FRESH,
      // What the service said is not asked again; a lost connection is, once.
      retry: (failures, error) => !(error instanceof ApiProblem) && failures < 1,
      // Asked whatever the browser thinks of the network: it is wrong about hosts nearby.
      networkMode: 'always',
    },
    // What was typed and answered, passwords among it, goes with the form.
    mutations: { networkMode: 'always', gcTime: 0 },
  },
})

export const currentUserQuery = queryOptions({
  queryKey: ['me'],
  queryFn: async ({ signal }) => (await getCurrentUser({ signal })).data,
  staleTime: 60_000,
})

/**
 * `lost`: the session ended under somebody's work (expired, or an administrator ended it);
 * `left`: they logged out, here or in another tab.
 */
export const ending = ref<'lost' | 'left' | null>(null)

/** What follows a login: `leaving` is another page, which knows nothing of this one. */
export type Begun = 'ready' | 'change-password' | 'leaving'

/** The name that somebody logged in with: with a one-time password nothing more is known of them. */
export const enteredName = ref<string>()

// Not a secret, only whether it is worth asking who is logged in.
const HINT = 'slm.logged_in'

/** Whether there may be a session: false where nobody has logged in, or the last one ended. */
export function mayHaveSession(): boolean {
  return personShown() !== undefined || (keepsSiteData() && localStorage.getItem(HINT) !== null)
}

/** Begin a session. What one person saw, or typed, is not for the next. */
export async function logIn(username: string, password: string): Promise<Begun> {
  const { data } = await beginBrowserSession({
    headers: CSRF_HEADER,
    body: { username, password },
  })
  sessionBegan()
  enteredName.value = username
  localStorage.setItem(HINT, 'yes')
  tell('began')
  const before = personShown()
  if (data.must_change_password) {
    if (before !== undefined) return leave('change-password')
    ending.value = null
    return 'change-password'
  }
  const { data: now } = await getCurrentUser()
  if (before !== undefined && before.id !== now.id) return leave('')
  queryClient.setQueryData(currentUserQuery.queryKey, now)
  ending.value = null
  return 'ready'
}

/** End the session, in all tabs. */
export async function logOut(): Promise<void> {
  await endBrowserSession({ headers: CSRF_HEADER })
  tell('ended')
  left()
}

/** Whose page it is that is shown. */
export function personShown(): CurrentUserResponse | undefined {
  return queryClient.getQueryData<CurrentUserResponse>(currentUserQuery.queryKey)
}

function left(): void {
  localStorage.removeItem(HINT)
  queryClient.clear()
  ending.value = 'left'
}

/** Go to a page as if its address had been typed: nothing of what was shown stays. */
function leave(page: string): 'leaving' {
  queryClient.clear()
  location.replace(import.meta.env.BASE_URL + page)
  return 'leaving'
}

/** Somebody logged in in another tab: the same person goes on here, any other begins anew. */
async function beganElsewhere(): Promise<void> {
  sessionBegan()
  const before = personShown()
  if (before === undefined) return
  try {
    const { data: now } = await getCurrentUser()
    if (before.id === now.id) {
      ending.value = null
      void queryClient.invalidateQueries()
      return
    }
  } catch {
    // Nobody knows whose session it is.
  }
  leave('')
}

onSessionEnded(() => {
  localStorage.removeItem(HINT)
  ending.value ??= 'lost'
})

onSignal((signal) => {
  if (signal === 'ended') left()
  else void beganElsewhere()
})

// A page that the browser kept aside has heard no signals in the meantime.
window.addEventListener('pageshow', (event) => {
  if (event.persisted) location.reload()
})

export interface Rights {
  me: ComputedRef<CurrentUserResponse | undefined>
  /** Whether the person may do what the permission allows. */
  can: (permission: Permission) => boolean
  /** Whether the person is limited to one organization of application users. */
  isLimited: ComputedRef<boolean>
  /** Whether that user is the person; an application user may have the same id. */
  isOneself: (population: Population, userId: string) => boolean
}

/** Whether a person may do what the permission allows, for what is shown; the API decides. */
export function holds(person: CurrentUserResponse | undefined, permission: Permission): boolean {
  return person !== undefined && (person.is_admin || person.permissions.includes(permission))
}

/** The current person's rights, for what is shown; the API decides. */
export function useRights(): Rights {
  const { data } = useQuery(currentUserQuery)
  return {
    me: computed(() => data.value),
    can: (permission) => holds(data.value, permission),
    isLimited: computed(() => data.value?.org_id != null),
    isOneself: (population, userId) => population === 'slm' && userId === data.value?.id,
  }
}
