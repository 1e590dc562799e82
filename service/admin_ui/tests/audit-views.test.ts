import { describe, expect, it } from 'vitest'

import { auditViewsOf } from '@/views/users/drawer/auditViews'

const logsOf = (population: 'slm' | 'autobot') =>
  auditViewsOf(population, 'id').map(({ query }) => [
    query.population,
    query.actor ? 'by' : 'to',
    query.actor ?? query.resource_id,
  ])

describe('auditViewsOf', () => {
  it('reads of an application user in their own log alone', () => {
    expect(logsOf('autobot')).toEqual([
      ['autobot', 'to', 'id'],
      ['autobot', 'by', 'id'],
    ])
  })

  it('reads what a fleet administrator did in both logs', () => {
    expect(logsOf('slm')).toEqual([
      ['slm', 'to', 'id'],
      ['slm', 'by', 'id'],
      ['autobot', 'by', 'id'],
    ])
  })
})
