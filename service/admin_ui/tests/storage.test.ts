import { mount } from '@vue/test-utils'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'

import { stubChannel, stubLocks, stubNetwork, type Network } from './support/browser'

let network: Network

beforeEach(() => {
  stubLocks()
  stubChannel()
  network = stubNetwork()
  vi.resetModules()
  vi.spyOn(window, 'localStorage', 'get').mockImplementation(() => {
    throw new DOMException('Access is denied for this document.', 'SecurityError')
  })
})
afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

it('says that site data is blocked before a session is begun', async () => {
  const { default: LoginForm } = await import('@/session/LoginForm.vue')
  const { VueQueryPlugin } = await import('@tanstack/vue-query')
  const form = mount(LoginForm, { global: { plugins: [VueQueryPlugin] } })
  expect(form.text()).toContain('This browser keeps no cookies or data of')
  expect(form.get('button[type=submit]').attributes('disabled')).toBeDefined()
  await form.get('form').trigger('submit')
  expect(network.asked()).toEqual([])
})

it('knows of no session then, and says so without an exception', async () => {
  const { mayHaveSession } = await import('@/session/session')
  expect(mayHaveSession()).toBe(false)
})
