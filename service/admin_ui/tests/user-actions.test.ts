import { QueryClient, VueQueryPlugin } from '@tanstack/vue-query'
import { flushPromises, mount } from '@vue/test-utils'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import type { UserResponse } from '@/api/generated'
import { announcements } from '@/components/announcer'
import { useUserActions, type UserActions } from '@/views/users/useUserActions'
import { problem, stubNetwork } from './support/browser'

const ID = '0b5c6f0e-6d1c-4d6e-9a57-3f5f2a1c8e44'

const user = (name: string) => ({ id: ID, username: name, is_active: true }) as UserResponse

let actions: UserActions
let answer: (response: Response) => void
let unmount: () => void

beforeEach(() => {
  announcements.value = []
  stubNetwork().answer(
    `/api/slm-users/${ID}/unlock`,
    () => new Promise((resolve) => (answer = resolve)),
  )
  const queryClient = new QueryClient()
  queryClient.setQueryData(['me'], { permissions: [], org_id: null, is_admin: true })
  const wrapper = mount(
    {
      setup: () => {
        actions = useUserActions('slm', () => undefined)
        return () => null
      },
    },
    { global: { plugins: [[VueQueryPlugin, { queryClient }]] } },
  )
  unmount = () => wrapper.unmount()
})
afterEach(() => {
  unmount()
  vi.unstubAllGlobals()
})

describe('a dialog that is opened while something else is under way', () => {
  beforeEach(async () => {
    actions.ask('unlock', user('first'))
    await flushPromises()
    actions.ask('delete', user('second'))
  })

  it('stays open when that is done', async () => {
    answer(new Response(null, { status: 204 }))
    await flushPromises()
    expect(actions.asked.value?.subject.username).toBe('second')
    expect(announcements.value.map(({ kind }) => kind)).toEqual(['done'])
  })

  it('does not hide that it failed', async () => {
    answer(problem(503, 'database_unavailable'))
    await flushPromises()
    expect(announcements.value.map(({ text }) => text)).toEqual(['first: database_unavailable'])
    expect(actions.error.value).toBeNull()
  })
})
