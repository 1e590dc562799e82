import { describe, expect, it } from 'vitest'

import { pageAfterLogin } from '@/router'

const START = '/settings/admin/users'

describe('pageAfterLogin', () => {
  it.each([
    '/settings/admin/users/autobot?search=a%20b&user=1#top',
    '/settings/account',
    '/%09/evil.example',
  ])('goes to a page of this site: %s', (next) => {
    expect(pageAfterLogin(next)).toBe(next)
  })

  it.each([
    '//evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    'https://evil.example/',
    'javascript:alert(1)',
    '/\t/evil.example',
    '/\n/evil.example',
    '\t//evil.example',
    ' //evil.example',
    '/.//evil.example',
    'evil.example',
    '/login',
    '/login?next=/login',
    '',
    undefined,
    null,
    ['/settings/account', '//evil.example'],
  ])('goes to the start instead: %j', (next) => {
    expect(pageAfterLogin(next)).toBe(START)
  })
})
