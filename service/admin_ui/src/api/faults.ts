/** Beside which field an error belongs. */

import { ApiProblem, isProblem } from './problem'

// How the API begins to say which name is taken; it names no field.
const TAKEN: Record<string, string> = {
  username: 'This username',
  email: 'This e-mail address',
}

/** What is wrong with a field of the body, or null. */
export function faultOf(error: unknown, field: string): string | null {
  const taken = TAKEN[field]
  if (isProblem(error, 'duplicate') && taken !== undefined && error.message.startsWith(taken)) {
    return error.message
  }
  if (isProblem(error, 'password_refused') && field === 'password') return error.message
  return error instanceof ApiProblem ? error.faultOf(field) : null
}

/** Whether none of the fields shows the error. */
export function isElsewhere(error: unknown, fields: readonly string[]): boolean {
  return error != null && fields.every((field) => faultOf(error, field) === null)
}
