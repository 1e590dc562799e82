import { QueryClient, VueQueryPlugin } from '@tanstack/vue-query'
import { flushPromises, mount, RouterLinkStub } from '@vue/test-utils'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Component } from 'vue'

import type { Population } from '@/api/generated'
import { editOf } from '@/views/users/userForm'
import EditUserForm from '@/views/users/dialogs/EditUserForm.vue'
import LockState from '@/views/users/drawer/LockState.vue'
import UserVerbs from '@/views/users/drawer/UserVerbs.vue'
import { eventually, json, stubNetwork, type Network } from './support/browser'

const ME = '0193a1c2-7d4e-7000-8000-000000000001'
const OTHER = '0193a1c2-7d4e-7000-8000-000000000002'
const PEOPLE: [Population, string, boolean][] = [
  ['slm', ME, true],
  ['slm', OTHER, false],
  // Each population has ids of its own.
  ['autobot', ME, false],
]

let network: Network
let queryClient: QueryClient

const userOf = (id: string) => ({
  id,
  username: 'marta',
  email: 'marta@example.com',
  display_name: 'Marta',
  org_id: null,
  is_platform_admin: false,
  bio: null,
  avatar_url: null,
  is_active: true,
})

beforeEach(() => {
  network = stubNetwork()
  queryClient = new QueryClient({ defaultOptions: { mutations: { gcTime: 0 } } })
  const me = { id: ME, username: 'marta', is_admin: true, permissions: [], org_id: null }
  queryClient.setQueryData(['me'], me)
  queryClient.setQueryDefaults(['me'], { staleTime: Infinity })
})
afterEach(() => {
  document.body.replaceChildren()
  vi.unstubAllGlobals()
})

function shown(component: Component, props: Record<string, unknown>) {
  return mount(component, {
    props,
    attachTo: document.body,
    global: {
      plugins: [[VueQueryPlugin, { queryClient }]],
      stubs: { RouterLink: RouterLinkStub, OrganizationSelect: true },
    },
  })
}

describe.each(PEOPLE)('of %s %s', (population, id, isMe) => {
  it('what the API refuses for oneself is offered for others', () => {
    const verbs = shown(UserVerbs, { population, user: userOf(id) })
    expect(verbs.text().includes('Reset password…')).toBe(!isMe)
    expect(verbs.text().includes('Unlock')).toBe(!isMe)
    expect(verbs.text()).toContain('End sessions…')
    const links = verbs.findAllComponents(RouterLinkStub).map((link) => link.props('to'))
    expect(links).toEqual(isMe ? ['/settings/account'] : [])
  })

  it('a lock is lifted by others', async () => {
    const lock = json({ locked_until: '2030-01-31T12:00:00Z', failures: 5 })
    network.answer(`/api/${population}-users/${id}/lock`, lock)
    const state = shown(LockState, { population, user: userOf(id) })
    await eventually(() => expect(state.text()).toContain('Locked'))
    expect(state.text().includes('Unlock now')).toBe(!isMe)
    expect(state.text().includes('Another administrator can unlock you.')).toBe(isMe)
  })
})

describe('the form of a user', () => {
  function form(population: Population, id: string) {
    const opened = { value: editOf(userOf(id) as never), etag: '"1"' }
    const read = async () => ({ value: { ...opened.value, bio: 'Theirs' }, etag: '"2"' })
    return shown(EditUserForm, { population, userId: id, opened, read })
  }

  const passwordOf = (edited: ReturnType<typeof form>) =>
    edited.find<HTMLInputElement>('input[autocomplete=current-password]')

  const sent = async () => (await network.sent('PATCH')).map(([, body]) => body)

  const fill = async (edited: ReturnType<typeof form>, label: string, value: string) => {
    const name = edited.findAll('label').find((each) => each.text() === label)!
    await edited.get(`[id="${name.attributes('for')}"]`).setValue(value)
  }

  it.each(PEOPLE)('asks %s %s for their password', async (population, id, isMe) => {
    const edited = form(population, id)
    await fill(edited, 'Display name', 'Marta L.')
    // However it is written, it is the same.
    await fill(edited, 'User name', 'Marta')
    expect(passwordOf(edited).exists()).toBe(false)
    await fill(edited, 'E-mail address', 'ml@example.com')
    expect(passwordOf(edited).exists()).toBe(isMe)
    await fill(edited, 'E-mail address', 'marta@example.com')
    await fill(edited, 'User name', 'ml')
    expect(passwordOf(edited).exists()).toBe(isMe)
  })

  it('sends it with what it is for, and forgets it', async () => {
    network.answer(`/api/slm-users/${ME}`, json({}))
    const edited = form('slm', ME)
    await fill(edited, 'E-mail address', 'ml@example.com')
    await passwordOf(edited).setValue('granite-otter-52')
    await edited.get('form').trigger('submit')
    await eventually(() => expect(edited.emitted('close')).toBeDefined())
    expect(await sent()).toEqual([
      { email: 'ml@example.com', current_password: 'granite-otter-52' },
    ])
    expect(passwordOf(edited).element.value).toBe('')
    const states = queryClient.getMutationCache().getAll()
    expect(JSON.stringify(states.map(({ state }) => state))).not.toContain('granite-otter-52')
  })

  it('sends it with nothing else', async () => {
    network.answer(`/api/slm-users/${ME}`, json({}))
    const edited = form('slm', ME)
    await fill(edited, 'User name', 'ml')
    await passwordOf(edited).setValue('granite-otter-52')
    await fill(edited, 'User name', 'marta')
    await fill(edited, 'Display name', 'Marta L.')
    await edited.get('form').trigger('submit')
    await eventually(() => expect(edited.emitted('close')).toBeDefined())
    expect(await sent()).toEqual([{ display_name: 'Marta L.' }])
  })

  it.each([
    ['wrong', 403, 'current_password_wrong', 'The current password is not correct.', []],
    ['missing', 422, 'validation_error', 'Give it.', ['/current_password']],
  ])('says beside it that it is %s', async (_, status, code, detail, pointers) => {
    const errors = pointers.map((pointer) => ({ in: 'body', pointer, detail }))
    network.answer(`/api/slm-users/${ME}`, json({ code, status, detail, errors }, status))
    const edited = form('slm', ME)
    await fill(edited, 'User name', 'ml')
    await passwordOf(edited).setValue('wrong')
    await edited.get('form').trigger('submit')
    await eventually(() => expect(edited.text()).toContain(detail))
    await flushPromises()
    expect(edited.find('[role=alert]').exists()).toBe(false)
    expect(passwordOf(edited).attributes('aria-invalid')).toBe('true')
    expect(passwordOf(edited).element.value).toBe('')
    expect(document.activeElement).toBe(passwordOf(edited).element)
  })

  it('asks again where somebody else has changed it meanwhile', async () => {
    const stale = json({ code: 'precondition_failed', status: 412, detail: 'Stale.' }, 412)
    const wrong = { code: 'current_password_wrong', status: 403, detail: 'Not correct.' }
    network.answer(`/api/slm-users/${ME}`, stale, json(wrong, 403), json({}))
    const edited = form('slm', ME)
    await fill(edited, 'User name', 'ml')
    await passwordOf(edited).setValue('granite-otter-52')
    await edited.get('form').trigger('submit')
    await eventually(() => expect(edited.text()).toContain('Somebody else has changed this'))
    await eventually(() => expect(passwordOf(edited).element.value).toBe(''))
    await passwordOf(edited).setValue('wrong')
    await edited.get('form').trigger('submit')
    await eventually(() => expect(edited.text()).toContain('Not correct.'))
    await eventually(() => expect(document.activeElement).toBe(passwordOf(edited).element))
    await passwordOf(edited).setValue('granite-otter-52')
    await edited.get('form').trigger('submit')
    await eventually(() => expect(edited.emitted('close')).toBeDefined())
    expect((await sent()).at(-1)).toEqual({ username: 'ml', current_password: 'granite-otter-52' })
  })
})
