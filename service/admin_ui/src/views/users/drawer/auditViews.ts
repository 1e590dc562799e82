/** The parts of the audit logs that are about one user. */

import type { ListAuditLogsData, Population } from '@/api/generated'

export interface AuditView {
  label: string
  query: NonNullable<ListAuditLogsData['query']>
}

/**
 * Each log is about its own people, whoever did it: what was done to somebody is in the log of
 * their population, and what a fleet administrator did is in both.
 */
export function auditViewsOf(population: Population, userId: string): AuditView[] {
  const to: AuditView = {
    label: 'Done to this person',
    query: { population, resource_type: 'user', resource_id: userId },
  }
  if (population === 'autobot') {
    return [to, { label: 'Done by this person', query: { population, actor: userId } }]
  }
  return [
    to,
    {
      label: 'Done by this person, among fleet administrators',
      query: { population: 'slm', actor: userId },
    },
    {
      label: 'Done by this person, among application users',
      query: { population: 'autobot', actor: userId },
    },
  ]
}
