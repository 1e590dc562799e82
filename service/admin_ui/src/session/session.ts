/** Who is logged in, and what they may do. */

import { QueryClient, queryOptions, useQuery } from '@tanstack/vue-query'
import { computed, ref, type ComputedRef } from 'vue'

import { onSessionEnded } from '@/api/client'
import {
  beginBrowserSession,
  endBrowserSession,
  getCurrentUser,
  type CurrentUserResponse,
  type Permission,
} from '@/api/generated'
import { ApiProblem } from '@/api/problem'
import { CSRF_HEADER } from './refresh'
import { onSignal, tell } from './signals'

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
    mutations: { networkMode: 'always' },
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

/** Begin a session. True: nothing can be done before the password is changed. */
export async function logIn(username: string, password: string): Promise<boolean> {
  const { data } = await beginBrowserSession({
    headers: CSRF_HEADER,
    body: { username, password },
  })
  const before = queryClient.getQueryData<CurrentUserResponse>(currentUserQuery.queryKey)
  ending.value = null
  tell('began')
  if (!data.must_change_password) {
    const now = await queryClient.fetchQuery({ ...currentUserQuery, staleTime: 0 })
    // What one person saw is not for the next.
    if (before !== undefined && before.id !== now.id) forgetAllBut(now)
  }
  return data.must_change_password
}

/** End the session, in all tabs. */
export async function logOut(): Promise<void> {
  await endBrowserSession({ headers: CSRF_HEADER })
  tell('ended')
  queryClient.clear()
  ending.value = 'left'
}

function forgetAllBut(user: CurrentUserResponse): void {
  queryClient.clear()
  queryClient.setQueryData(currentUserQuery.queryKey, user)
}

onSessionEnded(() => {
  ending.value ??= 'lost'
})

onSignal((signal) => {
  if (signal === 'ended') {
    queryClient.clear()
    ending.value = 'left'
  } else if (ending.value !== null) {
    // Somebody logged in elsewhere: perhaps another person, so nothing shown here is theirs.
    location.reload()
  }
})

export interface Rights {
  me: ComputedRef<CurrentUserResponse | undefined>
  /** Whether the person may do what the permission allows. */
  can: (permission: Permission) => boolean
  /** Whether the person is limited to one organization of application users. */
  isLimited: ComputedRef<boolean>
}

/** The current person's rights, for what is shown; the API decides. */
export function useRights(): Rights {
  const { data } = useQuery(currentUserQuery)
  const held = computed(() => new Set(data.value?.permissions ?? []))
  return {
    me: computed(() => data.value),
    can: (permission) => data.value?.is_admin === true || held.value.has(permission),
    isLimited: computed(() => data.value?.org_id != null),
  }
}
