import { VueQueryPlugin } from '@tanstack/vue-query'
import { mount } from '@vue/test-utils'
import { afterEach, expect, it, vi } from 'vitest'

import { eventually, json, stubChannel, stubLocks, stubNetwork } from './support/browser'

const ID = '0193a1c2-7d4e-7000-8000-000000000001'

afterEach(() => vi.unstubAllGlobals())

it('is nowhere in the page once it has been passed on', async () => {
  stubLocks()
  stubChannel()
  const network = stubNetwork()
  network.answer(
    `/api/slm-users/${ID}/reset-password`,
    json({ one_time_password: 'apple-river-stone', expires_at: '2030-01-31T12:00:00Z' }),
  )
  vi.resetModules()
  const { queryClient } = await import('@/session/session')
  const { default: ResetPasswordDialog } =
    await import('@/views/users/dialogs/ResetPasswordDialog.vue')
  const dialog = mount(ResetPasswordDialog, {
    attachTo: document.body,
    props: { population: 'slm', user: { id: ID, username: 'marta' } as never },
    global: { plugins: [[VueQueryPlugin, { queryClient }]] },
  })
  const press = (text: string) =>
    eventually(() => {
      const buttons = [...document.querySelectorAll('button')]
      buttons.find((button) => button.textContent?.trim() === text)!.click()
    })
  const held = () =>
    JSON.stringify(
      queryClient
        .getMutationCache()
        .getAll()
        .map(({ state }) => state),
    ) + [...document.querySelectorAll('input')].map((input) => input.value).join()

  await press('Reset password')
  await eventually(() => expect(held()).toContain('apple-river-stone'))
  await press('I have passed it on')
  expect(dialog.emitted('close')).toBeDefined()
  dialog.unmount()
  await eventually(() => expect(held()).not.toContain('apple-river-stone'))
})
