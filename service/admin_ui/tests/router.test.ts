import { afterEach, describe, expect, it } from 'vitest'

import type { Permission } from '@/api/generated'
import { pageAfterLogin, router } from '@/router'
import { queryClient } from '@/session/session'
import { stubNetwork } from './support/browser'

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

describe('the way to a page', () => {
  afterEach(async () => {
    queryClient.clear()
    localStorage.clear()
    await router.replace('/login')
  })

  function isHere(permissions: Permission[], org_id: string | null = null): void {
    queryClient.setQueryData(['me'], { permissions, org_id, is_admin: false })
  }

  it('leads to the login without a request where nobody has logged in', async () => {
    const network = stubNetwork()
    await router.push('/settings/admin/teams')
    expect(router.currentRoute.value.fullPath).toBe('/login?next=/settings/admin/teams')
    expect(network.asked()).toEqual([])
  })

  it.each<[string, Permission[], string | null]>([
    [START, ['users:read'], null],
    // No organization has a part in the fleet administrators.
    ['/settings/admin/users/autobot', ['users:read'], 'an-organization'],
    ['/settings/admin/audit', ['audit:read'], null],
    // Who may see nothing is told so.
    [START, [], null],
  ])('begins at %s with %j in %s', async (page, permissions, orgId) => {
    isHere(permissions, orgId)
    await router.push('/')
    expect(router.currentRoute.value.path).toBe(page)
  })
})
