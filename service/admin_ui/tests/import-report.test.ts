import { describe, expect, it } from 'vitest'

import { formatOf } from '@/views/transfer/format'
import { lines } from '@/views/transfer/lines'
import { Report, SHOWN, type Outcome, type Row } from '@/views/transfer/report'

/** A stream in pieces of so many bytes. */
function pieces(text: string, size: number): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text)
  return new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size))
      controller.close()
    },
  })
}

async function all(stream: ReadableStream<Uint8Array>): Promise<string[]> {
  const found: string[] = []
  for await (const line of lines(stream)) found.push(line)
  return found
}

describe('lines', () => {
  it.each([1, 2, 3, 5, 1000])('are whole, whatever the pieces (%i bytes)', async (size) => {
    expect(await all(pieces('äöü €\n𝄞𝄞\n\nlast\n', size))).toEqual(['äöü €', '𝄞𝄞', '', 'last'])
  })

  it('do not take what broke off for a line', async () => {
    expect(await all(pieces('one\n{"summ', 4))).toEqual(['one'])
  })

  it('stop the stream when nobody reads on', async () => {
    let cancelled = false
    const stream = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new TextEncoder().encode('a\nb\n')),
      cancel: () => void (cancelled = true),
    })
    for await (const line of lines(stream)) {
      expect(line).toBe('a')
      break
    }
    expect(cancelled).toBe(true)
  })
})

describe('Report', () => {
  const row = (outcome: Outcome, reason: string | null, rows = 1): Row => ({
    resource: 'user',
    place: 'line 2',
    name: 'marta',
    outcome,
    reason,
    rows,
  })

  it('shows the first rows of each outcome that have a reason, and counts all', () => {
    const report = new Report()
    for (let n = 0; n < SHOWN + 5; n += 1) report.add(row('merged', 'No password.'), '{}')
    report.add(row('created', null), '{}')
    report.add(row('invalid', 'No name.'), '{}')
    expect(report.rows).toBe(SHOWN + 7)
    expect(report.countOf('merged')).toBe(SHOWN + 5)
    expect(report.notable).toHaveLength(SHOWN + 1)
    expect(report.notable.at(-1)).toMatchObject({ outcome: 'invalid' })
    report.add(row('invalid', 'Lines 3-61 are lost.', 59), '{}')
    expect(report.countOf('invalid')).toBe(60)
    expect(report.rows).toBe(SHOWN + 66)
  })

  it('is whole as a file', async () => {
    const report = new Report()
    for (let n = 0; n < 25_000; n += 1) report.add(row('created', null), String(n))
    report.finish({ applied: true, lines: null, counts: {}, over_quota: [] }, 'end')
    const written = (await report.asFile().text()).split('\n')
    expect(written).toHaveLength(25_002)
    expect([written[0], written[24_999], ...written.slice(-2)]).toEqual(['0', '24999', 'end', ''])
  })
})

describe('formatOf', () => {
  it.each([
    ['users.CSV', 'csv'],
    ['users.2026.jsonl', 'ndjson'],
    ['settings.json', 'config'],
    ['config.yml', 'config'],
    ['users', 'csv'],
    ['csv.', 'csv'],
    ['users.constructor', 'csv'],
  ])('%s is %s', (name, format) => expect(formatOf(name)).toBe(format))
})
