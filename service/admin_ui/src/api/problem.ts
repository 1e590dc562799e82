/** Errors of the API (RFC 9457, docs/api-problems.md) and of the way to it. */

import type { Problem } from './generated'

export type ProblemCode = Problem['code']

export interface Fault {
  /** JSON pointer to the value within the request. */
  pointer: string
  detail: string
}

/** What the API answered instead of what was asked for. `message` is for people. */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem'

  constructor(
    readonly status: number,
    /** Stable, for programs; null of an answer that is not the service's, such as nginx's own. */
    readonly code: ProblemCode | null,
    detail: string,
    readonly faults: readonly Fault[] = [],
    /** Seconds after which to try again; null when the answer does not say. */
    readonly retryAfter: number | null = null,
  ) {
    super(detail)
  }

  /** From an answer and its body, whatever that is. */
  static of(response: Response, body: unknown): ApiProblem {
    const problem = (typeof body === 'object' && body !== null ? body : {}) as Partial<Problem>
    const after = Number(response.headers.get('Retry-After') ?? NaN)
    return new ApiProblem(
      response.status,
      problem.code ?? null,
      problem.detail ?? `The server answered with status ${response.status}.`,
      problem.errors ?? [],
      Number.isFinite(after) ? after : null,
    )
  }

  /** The first fault of a field of the body, or null. */
  faultOf(field: string): string | null {
    return this.faults.find((fault) => fault.pointer === `/${field}`)?.detail ?? null
  }
}

/** The server could not be reached at all. */
export class Offline extends Error {
  override readonly name = 'Offline'

  constructor() {
    super('The server cannot be reached. Check the network, then try again.')
  }
}

/** Whether it is the problem with that code. */
export function isProblem(error: unknown, code: ProblemCode): error is ApiProblem {
  return error instanceof ApiProblem && error.code === code
}

/** A sentence for people about anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'Something went wrong. Reload the page.'
}
