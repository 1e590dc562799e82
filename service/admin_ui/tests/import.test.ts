import { VueQueryPlugin } from '@tanstack/vue-query'
import { flushPromises, mount, type VueWrapper } from '@vue/test-utils'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { announcements } from '@/components/announcer'
import { queryClient } from '@/session/session'
import ImportView from '@/views/transfer/ImportView.vue'
import { eventually, problem, stubLocks, stubNetwork, type Network } from './support/browser'

const PATH = '/api/autobot-users/import'

const COUNTS = { created: 2, merged: 1, unchanged: 0, skipped: 0, invalid: 1 }

const line = (content: unknown) => `${JSON.stringify(content)}\n`

const row = (outcome: string, reason: string | null = null, rows = 1) =>
  line({ resource: 'user', place: 'line 3', name: 'marta', outcome, reason, rows })

const summary = (applied: boolean, counts = COUNTS, lost = 0) =>
  line({
    summary: {
      applied,
      lines: { total: 61, header: 1, empty: 0, rows: 60 - lost, lost },
      counts: { user: counts },
      over_quota: [{ organization: 'org-1', max_users: 5, users: 7 }],
    },
  })

const stream = (...texts: string[]) => new Response(new Blob(texts))

const DRY = () => stream(row('created'), row('invalid', 'It has no name.'), summary(false))

let network: Network
let wrapper: VueWrapper

function open(me: object = { id: 'a', is_admin: true, permissions: [], org_id: null }): void {
  queryClient.setQueryData(['me'], me)
  wrapper = mount(ImportView, {
    props: { population: 'autobot' },
    global: {
      plugins: [[VueQueryPlugin, { queryClient }]],
      stubs: { RouterLink: { template: '<a><slot /></a>' } },
    },
  })
}

async function choose(file = new File(['username\nmarta\n'], 'users.csv')): Promise<void> {
  const input = wrapper.get<HTMLInputElement>('input[type=file]')
  Object.defineProperty(input.element, 'files', { value: [file], configurable: true })
  await input.trigger('change')
}

const shows = (text: string | RegExp) =>
  eventually(() => {
    if (typeof text === 'string') expect(wrapper.text()).toContain(text)
    else expect(wrapper.text()).toMatch(text)
  })

const button = (text: string) => wrapper.findAll('button').find((each) => each.text() === text)!

async function confirm(text: string): Promise<void> {
  await wrapper.get('form input').setValue(text)
  await wrapper.get('form').trigger('submit')
}

beforeEach(() => {
  stubLocks()
  network = stubNetwork()
})
afterEach(async () => {
  wrapper.unmount()
  await flushPromises()
  queryClient.clear()
  announcements.value = []
  vi.unstubAllGlobals()
})

describe('an import', () => {
  it('looks through first, is confirmed, and tells what it has done', async () => {
    network.answer(PATH, DRY, () => stream(row('created'), summary(true)))
    open()
    await choose()
    await shows('Would be done')
    await shows('org-1: 7 users, 5 allowed')
    await shows('It has no name.')
    expect(network.asked()).toEqual([`POST ${PATH}`])

    await confirm('2')
    await flushPromises()
    expect(network.asked()).toHaveLength(1)

    await confirm('3')
    await shows('4. What was done')
    const sent = network.fetch.mock.calls.map(([request]) => request as Request)
    expect(sent.map((request) => new URL(request.url).search)).toEqual([
      '?format=csv&apply=false',
      '?format=csv&apply=true',
    ])
    expect(sent[1]!.headers.get('Content-Type')).toBe('text/csv')
    expect(sent[1]!.headers.get('X-CSRF')).toBe('1')
    expect(await sent[1]!.text()).toBe('username\nmarta\n')
  })

  it('tells of lines that are lost', async () => {
    network.answer(PATH, () =>
      stream(
        row('created'),
        row('invalid', 'Lines 3-61 are lost.', 59),
        summary(false, COUNTS, 59),
      ),
    )
    open()
    await choose()
    await shows('59 of 61 lines are lost')
    await shows('invalid (59)')
    await shows('60 rows, NDJSON')
  })

  it('is confirmed by the name of the file, too', async () => {
    network.answer(PATH, DRY, () => stream(summary(true)))
    open()
    await choose()
    await shows('3. Import')
    await confirm('users.csv')
    await shows('4. What was done')
  })

  it('is looked through again as another format', async () => {
    network.answer(PATH, DRY)
    open()
    await choose()
    await shows('Would be done')
    await wrapper.get('select').setValue('ndjson')
    await eventually(() => expect(network.asked()).toHaveLength(2))
    const [again] = network.fetch.mock.calls[1]!
    expect((again as Request).url).toContain('format=ndjson')
    await shows('Would be done')
  })

  it('ends where there is nothing to do', async () => {
    network.answer(PATH, () => stream(summary(false, { ...COUNTS, created: 0, merged: 0 })))
    open()
    await choose()
    await shows('There is nothing to import')
    expect(wrapper.find('form').exists()).toBe(false)
  })

  it.each([
    ['the answer just ends', () => stream(row('created'))],
    ['the last line is cut', () => stream(row('created'), '{"summary": {"app')],
    [
      'the network goes away',
      () => {
        let told = false
        return new Response(
          new ReadableStream({
            pull(controller) {
              if (told) return controller.error(new TypeError('network error'))
              told = true
              controller.enqueue(new TextEncoder().encode(row('created')))
            },
          }),
        )
      },
    ],
  ])('goes on after the connection was lost: %s', async (_, answer) => {
    network.answer(PATH, DRY, answer, () => stream(summary(true)))
    open()
    await choose()
    await shows('3. Import')
    await confirm('3')
    await shows('The connection was lost before the report was complete.')
    await shows('What was imported until then stays.')
    expect(wrapper.text()).not.toContain('4. What was done')
    // What was typed is still there.
    await wrapper.get('form').trigger('submit')
    await shows('4. What was done')
  })

  it('tells the problem with which it broke off', async () => {
    const body = { status: 503, code: 'database_unavailable', detail: 'autobot_users is away.' }
    network.answer(PATH, DRY, () => stream(row('created'), line({ problem: body })))
    open()
    await choose()
    await shows('3. Import')
    await confirm('3')
    await shows(/The database cannot be reached\. autobot_users is away\..*stays/)
  })

  it.each([
    [409, 'import_running', 'import_running'],
    [413, 'body_too_large', 'Split the file'],
    [422, 'unusable_file', 'unusable_file'],
  ])('says what a refusal (%i) means, and tries again', async (status, code, said) => {
    network.answer(PATH, problem(status, code), DRY)
    open()
    await choose()
    await shows(said)
    await shows('Nothing was imported.')
    await button('Try again').trigger('click')
    await shows('Would be done')
  })

  it('can be cancelled', async () => {
    const endless = () => {
      const [request] = network.fetch.mock.calls.at(-1)!
      return new Response(
        new ReadableStream({
          start(controller) {
            controller.enqueue(new TextEncoder().encode(row('created')))
            const { signal } = request as Request
            signal.addEventListener('abort', () => controller.error(signal.reason))
          },
        }),
      )
    }
    network.answer(PATH, DRY, endless)
    open()
    await choose()
    await shows('3. Import')
    await confirm('3')
    await shows('1 of 2 rows so far')
    await button('Cancel').trigger('click')
    await shows('It was cancelled.')
    await shows('What was imported until then stays.')
  })

  it('says when the file cannot be read', async () => {
    open()
    const file = new File(['x'], 'gone.csv')
    file.arrayBuffer = () => Promise.reject(new DOMException('gone', 'NotReadableError'))
    await choose(file)
    await shows('gone.csv cannot be read.')
    expect(network.asked()).toEqual([])
  })

  it('does not send what the API does not take', async () => {
    open()
    const file = new File(['x'], 'large.csv')
    Object.defineProperty(file, 'size', { value: 64 * 2 ** 20 + 1 })
    await choose(file)
    await shows('larger than 64 MiB')
    expect(network.asked()).toEqual([])
  })
})

it.each([
  { id: 'a', is_admin: false, permissions: ['admin:users'], org_id: null },
  { id: 'a', is_admin: true, permissions: [], org_id: 'o' },
])('is not for %o', (me) => {
  open(me)
  expect(wrapper.text()).toContain('Not permitted.')
  expect(wrapper.find('input').exists()).toBe(false)
})
