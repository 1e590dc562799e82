import { VueQueryPlugin } from '@tanstack/vue-query'
import { mount, type VueWrapper } from '@vue/test-utils'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import {
  eventually,
  json,
  problem,
  stubChannel,
  stubLocks,
  stubNetwork,
  type Network,
} from './support/browser'

const CONFIRM = '/api/slm-auth/confirm'
const RESET = '/api/slm-users/0193a1c2-7d4e-7000-8000-000000000001/reset-password'

let network: Network
let client: typeof import('@/api/client')
let session: typeof import('@/session/session')
let page: VueWrapper

/** What the API answers when the login was too long ago (RFC 9470). */
function tooOld(): Response {
  const response = problem(401, 'recent_authentication_required')
  response.headers.set(
    'WWW-Authenticate',
    'Bearer error="insufficient_user_authentication", max_age="600"',
  )
  return response
}

beforeEach(async () => {
  localStorage.clear()
  stubLocks()
  stubChannel()
  network = stubNetwork()
  vi.resetModules()
  client = await import('@/api/client')
  session = await import('@/session/session')
  const { default: ConfirmIdentityDialog } = await import('@/session/ConfirmIdentityDialog.vue')
  page = mount(ConfirmIdentityDialog, {
    attachTo: document.body,
    global: { plugins: [[VueQueryPlugin, { queryClient: session.queryClient }]] },
  })
})
afterEach(() => {
  page.unmount()
  session.queryClient.clear()
  vi.unstubAllGlobals()
})

const dialog = () => document.querySelector('[role=dialog]')
const opened = () => eventually(() => expect(dialog()).not.toBeNull())
const post = (path = RESET) => client.sessionFetch(path, { method: 'POST', body: '{"a":1}' })

function button(name: string): HTMLButtonElement {
  const found = [...document.querySelectorAll<HTMLButtonElement>('[role=dialog] button')]
  return found.find((each) => each.textContent?.trim() === name)!
}

function prove(password: string): void {
  const input = document.querySelector<HTMLInputElement>('[role=dialog] input[type=password]')!
  input.value = password
  input.dispatchEvent(new Event('input'))
  document.querySelector('[role=dialog] form')!.dispatchEvent(new Event('submit'))
}

it('repeats what was refused, body and all, once somebody has proved who they are', async () => {
  network.answer(RESET, tooOld(), json({ one_time_password: 'x' }))
  network.answer(CONFIRM, new Response(null, { status: 204 }))
  const answer = post()
  await opened()
  prove('granite-otter-52')
  expect((await answer).status).toBe(200)
  expect(network.asked()).toEqual([`POST ${RESET}`, `POST ${CONFIRM}`, `POST ${RESET}`])
  await eventually(() => expect(dialog()).toBeNull())
  // No refresh, and nobody is logged out.
  expect(session.ending.value).toBeNull()
})

it('says what is wrong with the password, and waits for another', async () => {
  network.answer(RESET, tooOld(), json({}))
  network.answer(
    CONFIRM,
    problem(422, 'current_password_wrong'),
    new Response(null, { status: 204 }),
  )
  const answer = post()
  await opened()
  prove('wrong')
  await eventually(() => expect(dialog()!.textContent).toContain('current_password_wrong'))
  prove('granite-otter-52')
  expect((await answer).status).toBe(200)
})

it('leaves undone what is not confirmed, and says so', async () => {
  network.answer(RESET, tooOld())
  const answer = post()
  await opened()
  button('Cancel').click()
  await expect(answer).rejects.toMatchObject({
    code: 'recent_authentication_required',
    message: 'Nothing was done: you did not confirm that it is you.',
  })
  expect(network.asked()).toEqual([`POST ${RESET}`])
})

it('asks once for all that wait', async () => {
  const other = RESET.replace('01/', '02/')
  network.answer(RESET, tooOld(), json({}))
  network.answer(other, tooOld(), json({}))
  network.answer(CONFIRM, new Response(null, { status: 204 }))
  const both = Promise.all([post(), post(other)])
  await opened()
  await eventually(() => expect(network.asked()).toHaveLength(2))
  prove('granite-otter-52')
  expect((await both).map((each) => each.status)).toEqual([200, 200])
  expect(network.asked().filter((each) => each.includes('confirm'))).toHaveLength(1)
})

it('gives up when the session has ended meanwhile', async () => {
  network.answer(RESET, tooOld())
  const answer = post()
  await opened()
  session.ending.value = 'lost'
  await expect(answer).rejects.toMatchObject({ status: 401 })
})
