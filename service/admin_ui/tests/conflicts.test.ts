import { mount } from '@vue/test-utils'
import { describe, expect, it, vi } from 'vitest'

import { ApiProblem } from '@/api/problem'
import ConflictChoice from '@/components/ConflictChoice.vue'
import { changesOf, differencesOf, merged, saveVersioned } from '@/composables/conflicts'

interface Form {
  name: string
  description: string | null
  isDefault: boolean
}

const BASE: Form = { name: 'Blue', description: null, isDefault: false }
const FIELDS = [
  { key: 'name', label: 'Name' },
  { key: 'description', label: 'Description' },
  { key: 'isDefault', label: 'Default' },
] as const

const stale = () => new ApiProblem(412, 'precondition_failed', 'It is another version.')

describe('changesOf', () => {
  it('has the changed fields only', () => {
    expect(changesOf(BASE, { ...BASE, name: 'Red' })).toEqual({ name: 'Red' })
    expect(changesOf(BASE, { ...BASE })).toEqual({})
  })

  it('compares what is in lists, not which list it is', () => {
    expect(changesOf({ roles: ['a'] }, { roles: ['a'] })).toEqual({})
    expect(changesOf({ roles: ['a'] }, { roles: ['b'] })).toEqual({ roles: ['b'] })
  })
})

describe('differencesOf', () => {
  it('suggests who has changed a field, and theirs where both have', () => {
    const mine: Form = { name: 'Red', description: 'Mine', isDefault: false }
    const theirs: Form = { name: 'Green', description: null, isDefault: true }
    expect(
      differencesOf(BASE, mine, theirs, FIELDS).map(({ field, isContested, suggested }) => [
        field.key,
        isContested,
        suggested,
      ]),
    ).toEqual([
      ['name', true, 'theirs'],
      ['description', false, 'mine'],
      ['isDefault', false, 'theirs'],
    ])
  })

  it('says values in words', () => {
    const [description, isDefault] = differencesOf(
      BASE,
      { ...BASE, description: 'Mine', isDefault: true },
      BASE,
      FIELDS,
    )
    expect(description).toMatchObject({ mine: 'Mine', theirs: '—' })
    expect(isDefault).toMatchObject({ mine: 'Yes', theirs: 'No' })
  })

  it('leaves out what is the same', () => {
    const both = { ...BASE, name: 'Red' }
    expect(differencesOf(BASE, both, { ...both }, FIELDS)).toEqual([])
  })
})

describe('merged', () => {
  it('is theirs, with mine where that was chosen', () => {
    const mine: Form = { name: 'Red', description: 'Mine', isDefault: false }
    const theirs: Form = { name: 'Green', description: null, isDefault: true }
    expect(merged(mine, theirs, { name: 'theirs', description: 'mine' })).toEqual({
      name: 'Green',
      description: 'Mine',
      isDefault: true,
    })
  })
})

describe('saveVersioned', () => {
  const base = { value: BASE, etag: '"1"' }

  it('writes the changes to the version that was read', async () => {
    const write = vi.fn(async () => undefined)
    expect(await saveVersioned(base, { ...BASE, name: 'Red' }, vi.fn(), write)).toBeNull()
    expect(write.mock.calls).toEqual([[{ name: 'Red' }, '"1"']])
  })

  it('writes nothing where nothing is changed', async () => {
    const write = vi.fn()
    expect(await saveVersioned(base, { ...BASE }, vi.fn(), write)).toBeNull()
    expect(write).not.toHaveBeenCalled()
  })

  it('gives what is there now when somebody has changed a field', async () => {
    const now = { value: { ...BASE, description: 'Theirs' }, etag: '"2"' }
    const write = vi.fn().mockRejectedValue(stale())
    expect(await saveVersioned(base, { ...BASE, name: 'Red' }, async () => now, write)).toBe(now)
    expect(write).toHaveBeenCalledOnce()
  })

  it('asks nobody about what the form does not hold', async () => {
    const write = vi.fn().mockRejectedValueOnce(stale()).mockResolvedValueOnce(undefined)
    const read = async () => ({ value: { ...BASE }, etag: '"2"' })
    expect(await saveVersioned(base, { ...BASE, name: 'Red' }, read, write)).toBeNull()
    expect(write.mock.calls[1]).toEqual([{ name: 'Red' }, '"2"'])
  })

  it('asks nobody when both wanted the same', async () => {
    const mine = { ...BASE, name: 'Red' }
    const write = vi.fn().mockRejectedValueOnce(stale())
    const read = async () => ({ value: { ...mine }, etag: '"2"' })
    expect(await saveVersioned(base, mine, read, write)).toBeNull()
    expect(write).toHaveBeenCalledOnce()
  })

  it('throws every other problem', async () => {
    const write = vi.fn().mockRejectedValue(new ApiProblem(409, 'duplicate', 'Taken.'))
    await expect(saveVersioned(base, { ...BASE, name: 'Red' }, vi.fn(), write)).rejects.toThrow(
      'Taken.',
    )
  })
})

describe('ConflictChoice', () => {
  it('gives the chosen values', async () => {
    const mine = { ...BASE, name: 'Red', description: 'Mine' }
    const theirs = { ...BASE, name: 'Green' }
    const choice = mount(ConflictChoice<Form>, {
      props: { conflict: { base: BASE, mine, theirs }, fields: FIELDS, busy: false },
    })
    expect(choice.text()).toContain('changed by both')
    await choice.find('input[type=radio][name$="-name"][value=mine]').setValue()
    await choice.find('form').trigger('submit')
    expect(choice.emitted('choose')).toEqual([[{ ...theirs, name: 'Red', description: 'Mine' }]])
  })

  it('suggests anew when somebody was faster again', async () => {
    const mine = { ...BASE, name: 'Red' }
    const choice = mount(ConflictChoice<Form>, {
      props: { conflict: { base: BASE, mine, theirs: BASE }, fields: FIELDS, busy: false },
    })
    await choice.setProps({ conflict: { base: BASE, mine, theirs: { ...BASE, name: 'Green' } } })
    await choice.find('form').trigger('submit')
    expect(choice.emitted('choose')).toEqual([[{ ...BASE, name: 'Green' }]])
  })

  it('overwrites nothing unasked', async () => {
    const theirs = { ...BASE, name: 'Green' }
    const choice = mount(ConflictChoice<Form>, {
      props: {
        conflict: { base: BASE, mine: { ...BASE, name: 'Red' }, theirs },
        fields: FIELDS,
        busy: false,
      },
    })
    await choice.find('form').trigger('submit')
    expect(choice.emitted('choose')).toEqual([[theirs]])
  })
})
