/** What a page shows, kept in the address, so that reload, back and a sent link show the same. */

import { computed, type WritableComputedRef } from 'vue'
import { useRoute, useRouter, type LocationQuery } from 'vue-router'

export interface RouteQuery {
  /** A parameter's value; empty when it is not there. */
  read: (name: string) => string
  /** Set parameters; empty ones are taken out. What the person did before stays one step back. */
  push: (changes: Readonly<Record<string, string>>) => void
  /** The same without a step to go back, for what is typed. */
  replace: (changes: Readonly<Record<string, string>>) => void
  /** What is searched for. */
  search: WritableComputedRef<string>
}

/** The address's query with `changes` made. */
export function changed(
  query: LocationQuery,
  changes: Readonly<Record<string, string>>,
): LocationQuery {
  const result = { ...query, ...changes }
  for (const [name, value] of Object.entries(changes)) if (value === '') delete result[name]
  return result
}

/** The current page's query. */
export function useRouteQuery(): RouteQuery {
  const route = useRoute()
  const router = useRouter()
  const read: RouteQuery['read'] = (name) => {
    const value = route.query[name]
    return typeof value === 'string' ? value : ''
  }
  const replace: RouteQuery['replace'] = (changes) =>
    void router.replace({ query: changed(route.query, changes) })
  return {
    read,
    push: (changes) => void router.push({ query: changed(route.query, changes) }),
    replace,
    // Each letter is not a step to go back to.
    search: computed({ get: () => read('q'), set: (q) => replace({ q }) }),
  }
}
