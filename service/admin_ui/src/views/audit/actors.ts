/** People by name: what an actor's field shows, and whom it means. */

import type { AuditLogResponse, Population } from '@/api/generated'
import { UUID } from '@/api/uuid'

export interface Actor {
  id: string
  label: string
}

const SHORT: Record<Population, string> = { slm: 'SLM', autobot: 'AutoBot' }

/** Somebody by name; the same name may be in both populations. */
export function actorOf(population: Population, id: string, username: string): Actor {
  return { id, label: `${username} (${SHORT[population]})` }
}

/** The name in a label. */
export function nameOf(label: string): string {
  return label.replace(/ \(\w+\)$/, '')
}

/** Those who did what the log tells, as far as they have names. */
export function actorsIn(logs: readonly AuditLogResponse[]): Actor[] {
  return logs.flatMap(({ actor }) => {
    const population = actor?.population
    if (population !== 'slm' && population !== 'autobot') return []
    return actor?.user_id && actor.username
      ? [actorOf(population, actor.user_id, actor.username)]
      : []
  })
}

/** The id of whom a text means: an id, a label, or a name that only one has; null: nobody known. */
export function idOf(text: string, known: readonly Actor[]): string | null {
  if (UUID.test(text)) return text.toLowerCase()
  const name = text.toLowerCase()
  const meant = known.filter(({ label }) => label === text || nameOf(label).toLowerCase() === name)
  const ids = new Set(meant.map(({ id }) => id))
  return ids.size === 1 ? [...ids][0]! : null
}
