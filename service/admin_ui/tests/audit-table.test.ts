import { VueQueryPlugin } from '@tanstack/vue-query'
import { mount } from '@vue/test-utils'
import { afterEach, expect, it, vi } from 'vitest'

import type { AuditLogResponse } from '@/api/generated'
import { announcements } from '@/components/announcer'
import AuditTable from '@/components/AuditTable.vue'
import { queryClient } from '@/session/session'
import { eventually } from './support/browser'

const LOG: AuditLogResponse = {
  id: '0b5c6f0e-6d1c-4d6e-9a57-3f5f2a1c8e44',
  created_at: '2026-11-25T10:00:00Z',
  action: 'user_updated',
  outcome: 'success',
  actor: { population: 'slm', user_id: 'u1', username: 'marta' },
  resource_type: 'user',
  resource_id: 'r1',
  org_id: null,
  ip_address: '::1',
  user_agent: '<b>agent</b>',
  details: { changes: { bio: [null, '<img src=x>'] } },
  seq: 4711,
}

function table(change: Partial<AuditLogResponse> = {}, orgId: string | null = null) {
  queryClient.setQueryData(['me'], { id: 'a', permissions: [], org_id: orgId })
  return mount(AuditTable, {
    props: { logs: [{ ...LOG, ...change }] },
    global: { plugins: [[VueQueryPlugin, { queryClient }]] },
  })
}

afterEach(() => {
  queryClient.clear()
  announcements.value = []
})

it('opens an event to all that is known of it, as text', async () => {
  const wrapper = table()
  const button = wrapper.get('tbody button')
  expect(wrapper.text()).not.toContain('4711')
  await button.trigger('click')
  expect(button.attributes('aria-expanded')).toBe('true')
  for (const part of ['Sealed as no. 4711', LOG.id, 'r1', '<b>agent</b>', '<img src=x>']) {
    expect(wrapper.text()).toContain(part)
  }
  expect(wrapper.find('img').exists()).toBe(false)
  await button.trigger('click')
  expect(wrapper.text()).not.toContain('4711')
})

it.each([
  [null, 'Not sealed yet'],
  ['org', 'Not shown within an organization'],
])('does not claim a seal that it does not know (organization: %s)', async (orgId, said) => {
  const wrapper = table({ seq: null }, orgId)
  await wrapper.get('tbody button').trigger('click')
  expect(wrapper.text()).toContain(said)
})

it('shows an event that nobody is known to have done', () => {
  expect(table({ actor: null, outcome: 'failure' }).get('tbody tr').text()).toMatch(/failure\s*–/)
})

it('copies the id, or says how', async () => {
  const writeText = vi.spyOn(navigator.clipboard, 'writeText').mockResolvedValueOnce()
  const wrapper = table()
  await wrapper.get('tbody button').trigger('click')
  const copy = wrapper.get('[aria-label="Copy the id of the event"]')
  await copy.trigger('click')
  await eventually(() => expect(announcements.value.at(-1)?.kind).toBe('done'))
  expect(writeText).toHaveBeenCalledWith(LOG.id)
  writeText.mockRejectedValueOnce(new Error('denied'))
  await copy.trigger('click')
  await eventually(() => expect(announcements.value.at(-1)?.kind).toBe('failed'))
})
