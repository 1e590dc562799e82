/** What the list of users is asked for: from the address to the API. */

import type { ExportFormat } from '@/api/download'
import { countInWords, type Sort, type SortColumn, type UserQuery } from '@/api/populations'
import type { Population } from '@/api/generated'

/** Parameters of the page's address. */
export const PARAMETERS = ['q', 'status', 'role', 'org', 'team', 'login', 'from', 'until'] as const

export type Parameter = (typeof PARAMETERS)[number]

export type Filters = Readonly<Record<Parameter, string>>

export const NO_FILTERS: Filters = {
  q: '',
  status: '',
  role: '',
  org: '',
  team: '',
  login: '',
  from: '',
  until: '',
}

/** Last logins that can be asked for; `chosen` are the days `from` and `until`. */
export const LOGINS = [
  ['', 'Any time'],
  ['within-7', 'Within 7 days'],
  ['within-30', 'Within 30 days'],
  ['before-30', 'More than 30 days ago'],
  ['before-90', 'More than 90 days ago'],
  ['before-365', 'More than a year ago'],
  ['chosen', 'On chosen days…'],
] as const

/** How the API sorts when it is not told. */
export const DEFAULT_SORT: Sort = '-created_at'

// Names begin at their beginning, times with the last.
const FIRST: Record<SortColumn, Sort> = {
  username: 'username',
  email: 'email',
  last_login_at: '-last_login_at',
  created_at: '-created_at',
}

/** The sort that an address names; another text is the default. */
export function sortOf(text: string): Sort {
  const columns = Object.keys(FIRST) as SortColumn[]
  const known = columns.flatMap((column): Sort[] => [column, `-${column}`])
  return known.find((each) => each === text) ?? DEFAULT_SORT
}

/** The sort after a click on a column's heading. */
export function sortAfter(sort: Sort, column: SortColumn): Sort {
  if (sort === column) return `-${column}`
  return sort === `-${column}` ? column : FIRST[column]
}

/** `aria-sort` of a column. */
export function directionOf(sort: Sort, column: SortColumn): 'ascending' | 'descending' | 'none' {
  if (sort === column) return 'ascending'
  return sort === `-${column}` ? 'descending' : 'none'
}

/** What the API is asked for; `now` is the reader's clock, and days are the reader's. */
export function userQuery(filters: Filters, now: Date): UserQuery {
  return {
    ...(filters.q && { search: filters.q }),
    ...(filters.status && { is_active: filters.status === 'active' }),
    ...(filters.role && { role: filters.role }),
    ...(filters.org && { org_id: filters.org }),
    ...(filters.team && { team_id: filters.team }),
    ...logins(filters, now),
  }
}

function logins(filters: Filters, now: Date): UserQuery {
  // An address may hold anything.
  if (!LOGINS.some(([known]) => known === filters.login)) return {}
  const [kind, days] = filters.login.split('-')
  if (kind === 'within') return { last_login_after: dayBefore(now, Number(days)) }
  if (kind === 'before') return { last_login_before: dayBefore(now, Number(days)) }
  if (kind !== 'chosen') return {}
  const from = startOf(filters.from, 0)
  const until = startOf(filters.until, 1)
  return {
    ...(from && { last_login_after: from }),
    ...(until && { last_login_before: until }),
  }
}

/** Begins of days, so that the pages of one list, and its total, ask for the same all day long. */
function dayBefore(now: Date, days: number): string {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() - days).toISOString()
}

/** When a day of the form 2026-01-31 begins, `later` days after it; null of another text. */
function startOf(day: string, later: number): string | null {
  const [, year, month, date] = /^(\d{4})-(\d\d)-(\d\d)$/.exec(day) ?? []
  if (year === undefined) return null
  return new Date(Number(year), Number(month) - 1, Number(date) + later).toISOString()
}

/** Where the API has the users that a query asks for as a file. */
export function exportPathOf(
  population: Population,
  query: UserQuery,
  format: ExportFormat,
): string {
  const parameters = new URLSearchParams({ format })
  for (const [name, value] of Object.entries(query)) parameters.set(name, String(value))
  return `/api/${population}-users/export?${parameters}`
}

/** Up to here the API counts; above it estimates. */
const EXACT = 10_000

/** How many there are, in words. */
export function totalInWords(population: Population, total: number): string {
  return `${total > EXACT ? 'about ' : ''}${countInWords(population, total)}`
}
