/** What can be done to a user, and by whom. */

import type { Permission, Population } from '@/api/generated'

export type Verb =
  | 'edit'
  | 'disable'
  | 'enable'
  | 'reset-password'
  | 'end-sessions'
  | 'unlock'
  | 'roles'
  | 'teams'
  | 'delete'

interface Rule {
  label: string
  needs: Permission
  /** Whether it makes sense for an active user only, or for a disabled one only. */
  active?: boolean
  /** Whether the API refuses it for oneself. */
  toOthers?: boolean
  only?: Population
}

const RULES: Record<Verb, Rule> = {
  edit: { label: 'Edit…', needs: 'users:update' },
  disable: { label: 'Disable…', needs: 'users:update', active: true },
  enable: { label: 'Enable', needs: 'users:update', active: false },
  'reset-password': { label: 'Reset password…', needs: 'users:update', toOthers: true },
  'end-sessions': { label: 'End sessions…', needs: 'users:update' },
  unlock: { label: 'Unlock', needs: 'users:update', toOthers: true },
  roles: { label: 'Roles…', needs: 'admin:users' },
  teams: { label: 'Teams…', needs: 'teams:manage', only: 'autobot' },
  delete: { label: 'Delete…', needs: 'users:delete' },
}

const VERBS = Object.keys(RULES) as Verb[]

/** What a menu calls it; those that ask first end in an ellipsis. */
export function labelOf(verb: Verb): string {
  return RULES[verb].label
}

/** What a person with these rights is offered for a user, who may be the person. */
export function verbsFor(
  population: Population,
  user: { is_active: boolean },
  can: (permission: Permission) => boolean,
  isOneself: boolean,
): Verb[] {
  return VERBS.filter((verb) => {
    const { needs, active, toOthers, only } = RULES[verb]
    const fits = (active === undefined || active === user.is_active) && !(toOthers && isOneself)
    return fits && can(needs) && (only === undefined || only === population)
  })
}
