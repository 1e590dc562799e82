import { describe, expect, it } from 'vitest'

import type { AuditLogResponse } from '@/api/generated'
import { actorOf, actorsIn, idOf } from '@/views/audit/actors'
import {
  addressOf,
  apiQueryOf,
  countOf,
  exportPathOf,
  filtersOf,
  localOf,
  utcOf,
} from '@/views/audit/auditFilters'

const ID = '0b5c6f0e-6d1c-4d6e-9a57-3f5f2a1c8e44'
const OTHER = '11111111-6d1c-4d6e-9a57-3f5f2a1c8e44'

describe('the filters', () => {
  it('come from the address and go back to it', () => {
    const query = {
      population: 'autobot',
      action: ['user_created', 'user_deleted'],
      outcome: 'failure',
      since: '2026-11-25T09:00:00.000Z',
    }
    expect(addressOf(filtersOf(query))).toEqual(query)
    expect(addressOf(filtersOf({}))).toEqual({})
  })

  it('take one action as several, and nothing for what is unknown or given twice', () => {
    const filters = filtersOf({ action: 'logout', actor: [ID, OTHER], population: 'martians' })
    expect(filters).toMatchObject({ action: ['logout'], actor: '', population: 'slm' })
    expect(filtersOf({ action: null }).action).toEqual([])
  })

  it('ask the API for what is given only', () => {
    expect(apiQueryOf(filtersOf({ action: 'logout', ip_address: '::1' }))).toEqual({
      population: 'slm',
      action: ['logout'],
      ip_address: '::1',
    })
  })

  it('hold for the export too', () => {
    const path = exportPathOf(filtersOf({ action: ['a', 'b'], resource_type: 'a&b' }), 'csv')
    expect(path).toBe(
      '/api/audit-logs/export?format=csv&population=slm&resource_type=a%26b&action=a&action=b',
    )
  })

  it('are counted without the population', () => {
    expect(countOf(filtersOf({ population: 'autobot' }))).toBe(0)
    expect(countOf(filtersOf({ action: ['a', 'b'], actor: ID }))).toBe(2)
  })
})

describe('moments', () => {
  it('are the reader’s in the field and UTC in the address', () => {
    const local = '2026-07-01T08:30'
    expect(utcOf(local)).toBe(new Date(2026, 6, 1, 8, 30).toISOString())
    expect(localOf(utcOf(local))).toBe(local)
  })

  it('are empty where there are none', () => {
    expect([utcOf(''), localOf(''), localOf('yesterday')]).toEqual(['', '', ''])
  })
})

describe('actors', () => {
  const known = [actorOf('slm', ID, 'admin'), actorOf('autobot', OTHER, 'admin')]

  it('are meant by id, by label, or by a name that only one has', () => {
    expect(idOf(ID.toUpperCase(), [])).toBe(ID)
    expect(idOf('admin (AutoBot)', known)).toBe(OTHER)
    expect(idOf('Admin', known.slice(0, 1))).toBe(ID)
  })

  it('are not guessed', () => {
    expect(idOf('admin', known)).toBeNull()
    expect(idOf('adm', known)).toBeNull()
  })

  it('are found in events, with their population', () => {
    const log = (actor: AuditLogResponse['actor']) => ({ actor }) as AuditLogResponse
    const logs = [
      log({ population: 'autobot', user_id: OTHER, username: 'marta' }),
      log({ population: 'slm', user_id: ID, username: null }),
      log(null),
    ]
    expect(actorsIn(logs)).toEqual([{ id: OTHER, label: 'marta (AutoBot)' }])
  })
})
