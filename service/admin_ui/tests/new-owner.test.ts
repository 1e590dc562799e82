import { VueQueryPlugin } from '@tanstack/vue-query'
import { mount, type VueWrapper } from '@vue/test-utils'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { defineComponent, h, ref } from 'vue'
import { createMemoryHistory, createRouter } from 'vue-router'

import { announcements } from '@/components/announcer'
import { handover } from '@/composables/newOwner'
import { setMembership, useMembership, type Membership } from '@/composables/useMembership'
import { queryClient } from '@/session/session'
import SettingsLayout from '@/views/SettingsLayout.vue'
import UserDialogs from '@/views/users/dialogs/UserDialogs.vue'
import { useUserActions, type UserActions } from '@/views/users/useUserActions'
import { eventually, json, stubNetwork, type Network } from './support/browser'

const TEAM = '0193a1c2-7d4e-7000-8000-00000000000a'
const ORGANIZATION = '0193a1c2-7d4e-7000-8000-00000000000b'
const MARTA = { id: '0193a1c2-7d4e-7000-8000-000000000001', username: 'marta' }
const JONAS = { id: '0193a1c2-7d4e-7000-8000-000000000002', username: 'jonas' }
const USER = `/api/autobot-users/${MARTA.id}`
const MEMBER = `/api/autobot-teams/${TEAM}/members/${MARTA.id}`
const MEMBERS = `/api/autobot-teams/${TEAM}/members`

const refused = () =>
  json({ code: 'last_owner', status: 409, detail: 'It would take the last owner from Quay.' }, 409)
const done = () => new Response(null, { status: 204 })

let network: Network
let actions: UserActions
let membership: Membership
let page: VueWrapper

beforeEach(async () => {
  announcements.value = []
  network = stubNetwork()
  const users = [MARTA, JONAS].map((each) => ({ ...each, email: `${each.username}@example.com` }))
  network.answer('/api/autobot-users', json({ users, next_cursor: null }))
  allow('teams:manage')
  const Page = defineComponent(() => {
    const heading = ref<HTMLElement | null>(null)
    actions = useUserActions('autobot', () => undefined)
    membership = useMembership(() => heading.value)
    return () => [
      h('h3', { ref: heading }, 'Members'),
      h('button', { class: 'menu' }, 'Change'),
      h(UserDialogs, { population: 'autobot', actions }),
    ]
  })
  const routes = [{ path: '/:all(.*)*', component: Page }]
  const router = createRouter({ history: createMemoryHistory(), routes })
  await router.push('/')
  page = mount(SettingsLayout, {
    attachTo: document.body,
    global: { plugins: [router, [VueQueryPlugin, { queryClient }]] },
  })
})
afterEach(() => {
  page.unmount()
  queryClient.clear()
  vi.unstubAllGlobals()
})

function allow(...permissions: string[]): void {
  queryClient.setQueryData(['me'], {
    id: 'me',
    username: 'me',
    is_admin: false,
    org_id: null,
    permissions,
  })
}

const user = (more = {}) => ({ ...MARTA, is_active: true, org_id: ORGANIZATION, ...more }) as never
const focused = () => document.activeElement?.textContent
const dialogs = () => [...document.querySelectorAll<HTMLElement>('[role=dialog]')]
const dialog = () =>
  dialogs().find((each) => each.textContent?.includes('Choose a new owner')) ?? null
const shows = (text: string) => eventually(() => expect(dialog()?.textContent).toContain(text))

function press(text: string): void {
  const buttons = [...dialogs().at(-1)!.querySelectorAll('button')]
  buttons.find((each) => each.textContent?.trim() === text)!.click()
}

/** Delete somebody, by the dialog. */
async function remove(): Promise<void> {
  actions.ask('delete', user())
  await eventually(() => expect(dialogs()).toHaveLength(1))
  const [question] = dialogs()
  const input = question!.querySelector('input')!
  input.value = MARTA.username
  input.dispatchEvent(new Event('input'))
  await eventually(() => expect(question!.querySelector('[type=submit]:disabled')).toBeNull())
  question!.querySelector('form')!.dispatchEvent(new Event('submit'))
}

/** Choose the first who is offered, by the keyboard. */
async function choose(): Promise<void> {
  const input = dialog()!.querySelector('input')!
  const key = (name: string) =>
    input.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true }))
  key('ArrowDown')
  await shows('1 choice')
  key('ArrowDown')
  await eventually(() => expect(input.getAttribute('aria-activedescendant')).not.toBeNull())
  key('Enter')
  await eventually(() => expect(input.value).toBe('jonas'))
}

it('asks who is to own the teams of whoever is deleted, and deletes them with that', async () => {
  network.answer(USER, refused(), done())
  await remove()
  await shows('It would take the last owner from Quay.')
  await eventually(() => expect(document.activeElement).toBe(dialog()!.querySelector('input')))
  await choose()
  press('Hand over and delete')
  await eventually(() => expect(dialogs()).toHaveLength(0))
  expect(await network.sent('DELETE')).toEqual([
    [USER, null],
    [`${USER}?new_owner=${JONAS.id}`, null],
  ])
  expect(announcements.value.map(({ text }) => text)).toEqual(['marta is deleted.'])
  const [[asked] = ['']] = await network.sent('GET')
  // Whoever cannot log in, or is elsewhere, cannot be it, and those who leave are not offered.
  expect(Object.fromEntries(new URL(asked, location.origin).searchParams)).toEqual({
    org_id: ORGANIZATION,
    is_active: 'true',
    limit: '20',
  })
})

it('asks the same when somebody is disabled', async () => {
  network.answer(USER, refused(), json({}))
  actions.ask('disable', user())
  await eventually(() => expect(dialogs()).toHaveLength(1))
  press('Disable')
  await shows('It would take the last owner from Quay.')
  await choose()
  press('Hand over and disable')
  await eventually(() => expect(dialogs()).toHaveLength(0))
  expect(await network.sent('PATCH')).toEqual([
    [USER, { is_active: false }],
    [`${USER}?new_owner=${JONAS.id}`, { is_active: false }],
  ])
})

it('asks the same when somebody is disabled among other changes', async () => {
  const marta = { ...MARTA, email: 'marta@example.com', is_active: true, org_id: ORGANIZATION }
  network.answer(USER, json(marta), refused(), json(marta))
  network.answer(`/api/organizations/${ORGANIZATION}`, json({ id: ORGANIZATION, name: 'Acme' }))
  actions.ask('edit', user())
  await eventually(() => expect(dialogs()[0]?.querySelector('form')).toBeTruthy())
  const boxes = [...dialogs()[0]!.querySelectorAll<HTMLInputElement>('[type=checkbox]')]
  boxes.at(-1)!.click()
  press('Save')
  await shows('It would take the last owner from Quay.')
  await choose()
  press('Hand over and save')
  await eventually(() => expect(dialogs()).toHaveLength(0))
  expect((await network.sent('PATCH')).at(-1)).toEqual([
    `${USER}?new_owner=${JONAS.id}`,
    { is_active: false },
  ])
})

it('says why somebody cannot be it, and waits for another', async () => {
  const detail = 'They cannot log in. Name another one.'
  const errors = [{ in: 'query', pointer: '/new_owner', detail }]
  const wrong = json({ code: 'validation_error', status: 422, detail, errors }, 422)
  network.answer(USER, refused(), wrong, done())
  await remove()
  await eventually(() => expect(dialog()).not.toBeNull())
  await choose()
  press('Hand over and delete')
  await shows(detail)
  expect(dialog()!.querySelector('input')!.getAttribute('aria-invalid')).toBe('true')
  await eventually(() => expect(dialog()!.querySelector('[type=submit]:disabled')).toBeNull())
  press('Hand over and delete')
  await eventually(() => expect(dialogs()).toHaveLength(0))
})

it('leaves undone what nobody is chosen for, and says why where it was begun', async () => {
  network.answer(USER, refused())
  await remove()
  // As of a button that rests while it is done.
  ;(document.activeElement as HTMLElement).blur()
  await eventually(() => expect(dialog()).not.toBeNull())
  press('Cancel')
  await eventually(() => expect(dialogs()[0]?.textContent).toContain('the last owner from Quay'))
  await eventually(() => expect(document.activeElement?.getAttribute('role')).toBe('alert'))
  expect(dialog()).toBeNull()
  expect(await network.sent('DELETE')).toHaveLength(1)
})

it('leaves every other fault to where it was begun', async () => {
  const gone = json({ code: 'not_found', status: 404, detail: 'User not found.' }, 404)
  network.answer(USER, refused(), gone)
  await remove()
  await eventually(() => expect(dialog()).not.toBeNull())
  await choose()
  press('Hand over and delete')
  await eventually(() => expect(dialogs()[0]?.textContent).toContain('User not found.'))
  expect(dialog()).toBeNull()
})

it('asks nobody who cannot hand teams over', async () => {
  allow('users:delete')
  network.answer(USER, refused())
  await remove()
  await eventually(() => expect(dialogs()[0]?.textContent).toContain('the last owner from Quay'))
  expect(dialog()).toBeNull()
})

it.each([
  ['remove', null, 'DELETE', { remove: [MARTA.id] }, []],
  ['change', 'member', 'PATCH', {}, [{ user_id: MARTA.id, role: 'member' }]],
] as const)('hands a team over to a member: %s', async (verb, role, method, more, changed) => {
  network.answer(MEMBER, refused())
  network.answer(MEMBERS, json({}))
  const setting = setMembership(TEAM, MARTA.id, role)
  await shows('It would take the last owner from Quay.')
  await choose()
  press(`Hand over and ${verb}`)
  await setting
  const all = await network.sent(method)
  expect(all[0]?.[0]).toBe(MEMBER)
  // All of it, or nothing.
  expect((await network.sent('PATCH')).at(-1)).toEqual([
    MEMBERS,
    { change: [{ user_id: JONAS.id, role: 'owner' }, ...changed], ...more },
  ])
  const [[asked] = ['']] = await network.sent('GET')
  expect(new URL(asked, location.origin).searchParams.get('team_id')).toBe(TEAM)
  await eventually(() => expect(dialog()).toBeNull())
})

it.each([
  // The row that had the focus goes.
  ['Hand over and remove', true, 'Members'],
  ['Cancel', true, 'Change'],
  // A menu that rests meanwhile has lost it.
  ['Cancel', false, 'Members'],
])('leads on in the list after: %s, %s', async (end, isFocused, wanted) => {
  network.answer(MEMBER, refused())
  network.answer(MEMBERS, json({}))
  if (isFocused) page.get<HTMLElement>('button.menu').element.focus()
  membership.remove(TEAM, MARTA.id)
  await eventually(() => expect(dialog()).not.toBeNull())
  await choose()
  press(end)
  await eventually(() => expect(focused()).toBe(wanted))
})

it('is over when the page goes', async () => {
  network.answer(MEMBER, refused())
  const setting = setMembership(TEAM, MARTA.id, null)
  await eventually(() => expect(dialog()).not.toBeNull())
  page.unmount()
  await expect(setting).rejects.toMatchObject({ code: 'last_owner' })
  expect(handover.value).toBeNull()
})
