import { describe, expect, it } from 'vitest'

import { ApiProblem, messageOf } from '@/api/problem'

const answer = (status: number, headers: Record<string, string> = {}) =>
  new Response(null, { status, headers })

describe('ApiProblem', () => {
  it('carries what a problem says', () => {
    const problem = ApiProblem.of(answer(503, { 'Retry-After': '5' }), {
      code: 'database_unavailable',
      detail: 'autobot_users is away.',
    })
    expect(problem).toMatchObject({ status: 503, code: 'database_unavailable', retryAfter: 5 })
    expect(messageOf(problem)).toBe('autobot_users is away.')
  })

  it('says the status of an answer that is no problem', () => {
    expect(messageOf(ApiProblem.of(answer(502), 'Bad Gateway'))).toBe(
      'The server answered with status 502.',
    )
  })

  it('knows the fault of a field', () => {
    const problem = ApiProblem.of(answer(422), {
      errors: [{ in: 'body', pointer: '/email', detail: 'No address.' }],
    })
    expect(problem.faultOf('email')).toBe('No address.')
    expect(problem.faultOf('username')).toBeNull()
  })
})
