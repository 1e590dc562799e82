/** Beside which field an error belongs. */

import { ApiProblem, isProblem } from './problem'

// How the API begins to say which name is taken; it names no field.
const TAKEN: Record<string, string> = {
  username: 'This username',
  email: 'This e-mail address',
}

// Where the API tells only the regular expression.
const FORMS: Record<string, string> = {
  username: 'Only letters, digits and underscores.',
  email: 'An e-mail address looks like name@example.com.',
  slug: 'Only small letters, digits and hyphens.',
  avatar_url: 'It begins with https:// or with /.',
}

function inWords(field: string, detail: string): string {
  if (detail.startsWith('String should match pattern'))
    return FORMS[field] ?? 'It has characters that are not allowed.'
  return detail.replace(/^String should have at (least|most) (\d+ characters?)$/, 'At $1 $2.')
}

/** What is wrong with a field of the body, or null. */
export function faultOf(error: unknown, field: string): string | null {
  const taken = TAKEN[field]
  if (isProblem(error, 'duplicate') && taken !== undefined && error.message.startsWith(taken)) {
    return error.message
  }
  if (isProblem(error, 'password_refused') && field === 'password') return error.message
  if (isProblem(error, 'current_password_wrong') && field === 'current_password') {
    return error.message
  }
  const fault = error instanceof ApiProblem ? error.faultOf(field) : null
  return fault === null ? null : inWords(field, fault)
}

/** Whether none of the fields shows the error. */
export function isElsewhere(error: unknown, fields: readonly string[]): boolean {
  return error != null && fields.every((field) => faultOf(error, field) === null)
}
