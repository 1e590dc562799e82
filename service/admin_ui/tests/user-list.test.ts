import { describe, expect, it } from 'vitest'

import { changed } from '@/composables/useRouteQuery'
import {
  directionOf,
  NO_FILTERS,
  sortAfter,
  sortOf,
  totalInWords,
  userQuery,
} from '@/views/users/userList'

const now = new Date(2026, 10, 25, 13, 30)
const asked = (filters: Partial<typeof NO_FILTERS>) => userQuery({ ...NO_FILTERS, ...filters }, now)

describe('userQuery', () => {
  it('asks for everybody when nothing is filtered', () => {
    expect(asked({})).toEqual({})
  })

  it('asks for what is filtered', () => {
    expect(asked({ q: 'ada', status: 'disabled', role: 'user', org: 'o', team: 't' })).toEqual({
      search: 'ada',
      is_active: false,
      role: 'user',
      org_id: 'o',
      team_id: 't',
    })
    expect(asked({ status: 'active' })).toEqual({ is_active: true })
  })

  it('counts days back from the beginning of today', () => {
    expect(asked({ login: 'within-7' })).toEqual({
      last_login_after: new Date(2026, 10, 18).toISOString(),
    })
    expect(asked({ login: 'before-90' })).toEqual({
      last_login_before: new Date(2026, 7, 27).toISOString(),
    })
  })

  it('includes both of the chosen days', () => {
    expect(asked({ login: 'chosen', from: '2026-02-01', until: '2026-02-28' })).toEqual({
      last_login_after: new Date(2026, 1, 1).toISOString(),
      last_login_before: new Date(2026, 2, 1).toISOString(),
    })
  })

  it.each(['within-', 'within-NaN', 'before-99999999999', 'within-7-7', '__proto__'])(
    'does not ask for the last login %j, which is none of the choices',
    (login) => {
      expect(asked({ login })).toEqual({})
    },
  )

  it('does not ask for what is no day, nor for days that are not chosen', () => {
    expect(asked({ login: 'chosen', from: 'yesterday' })).toEqual({})
    expect(asked({ from: '2026-02-01' })).toEqual({})
  })
})

describe('sort', () => {
  it('is the newest first unless an address names one', () => {
    expect(sortOf('')).toBe('-created_at')
    expect(sortOf('password_hash')).toBe('-created_at')
    expect(sortOf('-email')).toBe('-email')
  })

  it('begins with the first name and the last time, then turns round', () => {
    expect(sortAfter('-created_at', 'username')).toBe('username')
    expect(sortAfter('username', 'username')).toBe('-username')
    expect(sortAfter('-username', 'username')).toBe('username')
    expect(sortAfter('username', 'last_login_at')).toBe('-last_login_at')
  })

  it('is told to screen readers', () => {
    expect(directionOf('email', 'email')).toBe('ascending')
    expect(directionOf('-email', 'email')).toBe('descending')
    expect(directionOf('-email', 'username')).toBe('none')
  })
})

describe('totalInWords', () => {
  it('says what is estimated', () => {
    expect(totalInWords('autobot', 1)).toBe('1 user')
    expect(totalInWords('slm', 10_000)).toBe('10,000 administrators')
    expect(totalInWords('autobot', 1_000_000)).toBe('about 1,000,000 users')
  })
})

describe('the query of an address', () => {
  it('keeps what does not change and takes out what is empty', () => {
    expect(changed({ q: 'ada', user: 'u', sort: 'email' }, { user: '', q: 'bo' })).toEqual({
      q: 'bo',
      sort: 'email',
    })
  })
})
