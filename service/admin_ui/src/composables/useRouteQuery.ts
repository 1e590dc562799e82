/** What a page shows, kept in the address, so that reload, back and a sent link show the same. */

import { useRoute, useRouter, type LocationQuery } from 'vue-router'

export interface RouteQuery {
  /** A parameter's value; empty when it is not there. */
  read: (name: string) => string
  /** Set parameters; empty ones are taken out. What the person did before stays one step back. */
  push: (changes: Readonly<Record<string, string>>) => void
  /** The same without a step to go back, for what is typed. */
  replace: (changes: Readonly<Record<string, string>>) => void
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
  return {
    read: (name) => {
      const value = route.query[name]
      return typeof value === 'string' ? value : ''
    },
    push: (changes) => void router.push({ query: changed(route.query, changes) }),
    replace: (changes) => void router.replace({ query: changed(route.query, changes) }),
  }
}
