/** Which events of which log are shown: from the address to the API and back. */

import type { LocationQuery, LocationQueryRaw } from 'vue-router'

import type { ExportFormat } from '@/api/download'
import type { ListAuditLogsData, Population } from '@/api/generated'

const WORDS = [
  'outcome',
  'actor',
  'resource_type',
  'resource_id',
  'ip_address',
  'since',
  'until',
] as const

export type Word = (typeof WORDS)[number]

/** Empty texts ask for nothing. `since` and `until` are UTC, in ISO 8601. */
export interface AuditFilters extends Readonly<Record<Word, string>> {
  readonly population: Population
  readonly action: readonly string[]
}

/** What an address asks for; what it says and the API would not understand is left to the API. */
export function filtersOf(query: LocationQuery): AuditFilters {
  const text = (name: string) => {
    const value = query[name]
    return typeof value === 'string' ? value : ''
  }
  return {
    population: text('population') === 'autobot' ? 'autobot' : 'slm',
    action: [query.action ?? []].flat().filter((action) => action !== null),
    ...(Object.fromEntries(WORDS.map((name) => [name, text(name)])) as Record<Word, string>),
  }
}

/** The address's query; what asks for nothing is not in it. */
export function addressOf(filters: AuditFilters): LocationQueryRaw {
  const { population, action } = filters
  return {
    ...(population === 'autobot' && { population }),
    ...(action.length > 0 && { action: [...action] }),
    ...wordsOf(filters),
  }
}

/** What the API is asked for. */
export function apiQueryOf(filters: AuditFilters): NonNullable<ListAuditLogsData['query']> {
  const { population, action } = filters
  return { population, ...(action.length > 0 && { action: [...action] }), ...wordsOf(filters) }
}

/** Where the API has the same events as a file. */
export function exportPathOf(filters: AuditFilters, format: ExportFormat): string {
  const { population, action } = filters
  const parameters = new URLSearchParams({ format, population, ...wordsOf(filters) })
  for (const each of action) parameters.append('action', each)
  return `/api/audit-logs/export?${parameters}`
}

/** How many filters there are, the population not among them. */
export function countOf(filters: AuditFilters): number {
  return Object.keys(wordsOf(filters)).length + (filters.action.length > 0 ? 1 : 0)
}

/** What the fields show. */
export function inputsOf(filters: AuditFilters): Record<Word, string> {
  return {
    ...(Object.fromEntries(WORDS.map((name) => [name, filters[name]])) as Record<Word, string>),
    since: localOf(filters.since),
    until: localOf(filters.until),
  }
}

/** The value of a datetime-local input for a moment; empty for none, and for what is no moment. */
export function localOf(iso: string): string {
  const moment = new Date(iso)
  if (Number.isNaN(moment.getTime())) return ''
  const pad = (value: number, length = 2) => String(value).padStart(length, '0')
  const date = [pad(moment.getFullYear(), 4), pad(moment.getMonth() + 1), pad(moment.getDate())]
  return `${date.join('-')}T${pad(moment.getHours())}:${pad(moment.getMinutes())}`
}

/** The moment that a datetime-local input's value is in the reader's zone; empty for none. */
export function utcOf(local: string): string {
  return local === '' ? '' : new Date(local).toISOString()
}

function wordsOf(filters: AuditFilters): Partial<Record<Word, string>> {
  return Object.fromEntries(
    WORDS.filter((name) => filters[name] !== '').map((name) => [name, filters[name]]),
  )
}
