import { describe, expect, it } from 'vitest'

import type { Permission } from '@/api/generated'
import { ApiProblem } from '@/api/problem'
import { useIdempotencyKey } from '@/composables/useIdempotencyKey'
import { useSelection } from '@/composables/useSelection'
import { faultOf, isElsewhere } from '@/api/faults'
import { updateOf } from '@/views/users/userForm'
import { bulkVerbsFor, ORGANIZATION_VERBS, TEAM_VERBS, USER_VERBS, verbsFor } from '@/verbs'

const having =
  (...permissions: Permission[]) =>
  (permission: Permission) =>
    permissions.includes(permission)
const everything = () => true

describe('verbsFor', () => {
  it('offers nothing to who may only read', () => {
    expect(
      verbsFor(
        USER_VERBS,
        { is_active: true },
        { population: 'autobot', can: having('users:read', 'teams:read') },
      ),
    ).toEqual([])
  })

  it('offers what the permissions allow', () => {
    expect(
      verbsFor(USER_VERBS, { is_active: true }, { population: 'slm', can: having('users:delete') }),
    ).toEqual(['delete'])
    expect(
      verbsFor(USER_VERBS, { is_active: true }, { population: 'slm', can: having('admin:users') }),
    ).toEqual(['roles'])
  })

  it('disables who is active and enables who is not', () => {
    expect(
      verbsFor(USER_VERBS, { is_active: true }, { population: 'slm', can: everything }),
    ).toContain('disable')
    expect(
      verbsFor(USER_VERBS, { is_active: true }, { population: 'slm', can: everything }),
    ).not.toContain('enable')
    expect(
      verbsFor(USER_VERBS, { is_active: false }, { population: 'slm', can: everything }),
    ).toContain('enable')
    expect(
      verbsFor(USER_VERBS, { is_active: false }, { population: 'slm', can: everything }),
    ).not.toContain('disable')
  })

  it('knows that only application users are in teams', () => {
    expect(
      verbsFor(USER_VERBS, { is_active: true }, { population: 'autobot', can: everything }),
    ).toContain('teams')
    expect(
      verbsFor(USER_VERBS, { is_active: true }, { population: 'slm', can: everything }),
    ).not.toContain('teams')
  })
})

describe('verbsFor teams and organizations', () => {
  const can = everything
  const population = 'autobot'

  it('knows what of a team takes which permission', () => {
    const verbs = (...permissions: Permission[]) =>
      verbsFor(TEAM_VERBS, {}, { population, can: having(...permissions) })
    expect(verbs('teams:read')).toEqual([])
    expect(verbs('teams:manage')).toEqual(['edit'])
    expect(verbs('teams:delete')).toEqual(['delete'])
  })

  it('deactivates what is active and activates what is not', () => {
    const verbs = (is_active: boolean) =>
      verbsFor(ORGANIZATION_VERBS, { is_active }, { population, can })
    expect(verbs(true)).toEqual(['edit', 'deactivate', 'delete'])
    expect(verbs(false)).toEqual(['edit', 'activate', 'delete'])
  })

  it('leaves an organization its name only', () => {
    const actor = { population, can, isLimited: true } as const
    expect(verbsFor(ORGANIZATION_VERBS, { is_active: true }, actor)).toEqual(['edit'])
  })
})

describe('bulkVerbsFor', () => {
  it('offers what the permissions allow, of that population', () => {
    expect(bulkVerbsFor({ population: 'autobot', can: having('teams:manage') })).toEqual([
      'add-to-team',
    ])
    expect(
      bulkVerbsFor({ population: 'slm', can: having('teams:manage', 'users:delete') }),
    ).toEqual(['delete'])
  })
})

describe('faultOf', () => {
  const refused = (field: string, detail: string) =>
    new ApiProblem(422, 'validation_error', 'Correct it.', [{ pointer: `/${field}`, detail }])

  it('tells people what an expression means', () => {
    const said = "String should match pattern '^[a-zA-Z0-9_]+$'"
    expect(faultOf(refused('username', said), 'username')).toMatch(/^Only letters, digits/)
    expect(faultOf(refused('bio', said), 'bio')).toMatch(/not allowed/)
  })

  it('tells how long a text may be', () => {
    const said = 'String should have at least 3 characters'
    expect(faultOf(refused('username', said), 'username')).toBe('At least 3 characters.')
  })

  it('tells what the API says otherwise', () => {
    expect(faultOf(refused('org_id', 'There is none.'), 'org_id')).toBe('There is none.')
  })

  it('puts a name that is taken beside its field', () => {
    const problem = new ApiProblem(409, 'duplicate', 'This e-mail address is taken.')
    expect(faultOf(problem, 'email')).toBe('This e-mail address is taken.')
    expect(faultOf(problem, 'username')).toBeNull()
    expect(isElsewhere(problem, ['username', 'email'])).toBe(false)
  })

  it('puts a refused password beside the password', () => {
    const problem = new ApiProblem(422, 'password_refused', 'It is too common.')
    expect(faultOf(problem, 'password')).toBe('It is too common.')
    expect(faultOf(problem, 'email')).toBeNull()
  })

  it('leaves what no field shows to the form', () => {
    const problem = new ApiProblem(409, 'quota_exceeded', 'The organization is full.')
    expect(isElsewhere(problem, ['username', 'org_id'])).toBe(true)
    expect(isElsewhere(null, ['username'])).toBe(false)
  })
})

describe('updateOf', () => {
  it('makes an emptied text none', () => {
    expect(updateOf({ bio: '', display_name: 'Ada', is_active: false })).toEqual({
      bio: null,
      display_name: 'Ada',
      is_active: false,
    })
  })
})

describe('useIdempotencyKey', () => {
  it('keeps the key of what is sent again, and gives other bodies others', () => {
    const keyOf = useIdempotencyKey()
    const first = keyOf({ username: 'ada' })
    expect(keyOf({ username: 'ada' })).toBe(first)
    expect(keyOf({ username: 'bo' })).not.toBe(first)
  })
})

describe('useSelection', () => {
  it('keeps what is chosen on other pages', () => {
    const selection = useSelection<{ id: string }>()
    selection.set([{ id: 'a' }, { id: 'b' }], true)
    selection.set([{ id: 'c' }], true)
    selection.set([{ id: 'a' }], false)
    expect(selection.items.value.map(({ id }) => id)).toEqual(['b', 'c'])
    selection.replace([{ id: 'c' }])
    expect(selection.has('b')).toBe(false)
    expect(selection.size.value).toBe(1)
  })
})
