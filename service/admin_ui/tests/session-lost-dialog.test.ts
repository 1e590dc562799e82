import { VueQueryPlugin } from '@tanstack/vue-query'
import { mount, type VueWrapper } from '@vue/test-utils'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { defineComponent, h, ref } from 'vue'

import {
  eventually,
  json,
  problem,
  stubChannel,
  stubLocks,
  stubNetwork,
  type Network,
} from './support/browser'

const LOGIN = '/api/slm-auth/browser/login'
const ME = '/api/slm-auth/me'

const person = (id: string) => ({ id, username: `user-${id}`, permissions: [], is_admin: true })

let network: Network
let session: typeof import('@/session/session')
let page: VueWrapper
const replace = vi.fn()

beforeEach(async () => {
  stubLocks()
  stubChannel()
  network = stubNetwork()
  replace.mockReset()
  vi.spyOn(location, 'replace').mockImplementation(replace)
  vi.resetModules()
  session = await import('@/session/session')
  const { default: SessionLostDialog } = await import('@/session/SessionLostDialog.vue')
  const Page = defineComponent({
    setup() {
      const typed = ref('')
      return () => [
        h('input', {
          id: 'typed',
          value: typed.value,
          onInput: (event: Event) => (typed.value = (event.target as HTMLInputElement).value),
        }),
        h(SessionLostDialog),
      ]
    },
  })
  session.queryClient.setQueryData(['me'], person('a'))
  page = mount(Page, {
    attachTo: document.body,
    global: { plugins: [[VueQueryPlugin, { queryClient: session.queryClient }]] },
  })
  await page.get('#typed').setValue('A long description')
  session.ending.value = 'lost'
  await eventually(() => expect(dialog()).not.toBeNull())
})
afterEach(() => {
  page.unmount()
  session.queryClient.clear()
  vi.unstubAllGlobals()
})

const dialog = () => document.querySelector('[role=dialog]')

const inputs = () => [...document.querySelectorAll<HTMLInputElement>('[role=dialog] input')]

function logIn(password: string): void {
  const input = inputs()[1]!
  input.value = password
  input.dispatchEvent(new Event('input'))
  document.querySelector<HTMLFormElement>('[role=dialog] form')!.requestSubmit()
}

it('logs the same person in again, over what they typed', async () => {
  network.answer(LOGIN, json({ must_change_password: false }))
  network.answer(ME, json(person('a')))
  expect(inputs()[0]!.value).toBe('user-a')
  logIn('secret')
  await eventually(() => expect(dialog()).toBeNull())
  expect(page.get<HTMLInputElement>('#typed').element.value).toBe('A long description')
  expect(replace).not.toHaveBeenCalled()
})

it('stays when the password is wrong, and forgets that', async () => {
  network.answer(LOGIN, problem(401, 'invalid_credentials'))
  logIn('wrong')
  await eventually(() => expect(dialog()?.textContent).toContain('invalid_credentials'))
  expect(inputs().map((input) => input.value)).toEqual(['user-a', ''])
})

it('keeps the password when the service is away', async () => {
  network.answer(LOGIN, problem(503, 'database_unavailable'))
  logIn('secret')
  await eventually(() => expect(dialog()?.textContent).toContain('database_unavailable'))
  expect(inputs().map((input) => input.value)).toEqual(['user-a', 'secret'])
})

it('is not closed by Escape', async () => {
  dialog()!.dispatchEvent(
    new KeyboardEvent('keydown', { key: 'Escape', bubbles: true, cancelable: true }),
  )
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(dialog()).not.toBeNull()
})

it('lets another person in, and shows them nothing of the first', async () => {
  network.answer(LOGIN, json({ must_change_password: false }))
  network.answer(ME, json(person('b')))
  logIn('secret')
  await eventually(() => expect(replace).toHaveBeenCalledWith('/'))
  expect(session.queryClient.getQueryCache().getAll()).toEqual([])
  // It covers the page until the browser has left that.
  expect(dialog()).not.toBeNull()
})
