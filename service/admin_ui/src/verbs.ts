/**
 * What can be done to users, teams and organizations, in the order of the menus: who is offered it, what
 * is asked first, what is done, and what is said then.
 */

import {
  activateOrganization,
  addTeamMember,
  changeTeamMembers,
  deactivateOrganization,
  deleteOrganization,
  deleteTeam,
  type Permission,
  type Population,
} from '@/api/generated'
import {
  assignRole,
  deleteUser,
  endSessions,
  revokeRole,
  unlockUser,
  updateUser,
} from '@/api/populations'

/** What a request needs besides the id of what it is about. */
export interface Circumstances {
  population: Population
  /** Gets the teams of whom nobody else is an owner. */
  newOwner?: string
  /** The id of the role or the team that was chosen. */
  target?: string
}

type Run<T> = (subject: T, circumstances: Circumstances) => Promise<unknown>

export interface Verb {
  /** What a button calls it; in a menu an ellipsis follows where something is asked first. */
  label: string
  /** Anybody is offered it without. */
  needs?: Permission
  /** Whether it makes sense for what is active only, or for what is not. */
  active?: boolean
  /** Whether the API refuses it for oneself. */
  toOthers?: boolean
  /** Whether the API refuses it to who is limited to an organization. */
  unlimited?: boolean
  only?: Population
  danger?: boolean
  /** Whether a dialog of its own asks for the rest. */
  form?: boolean
  /** What is asked before it is done to the one of this name. */
  question?: (name: string) => string
  /** What it means, said before anybody says yes. */
  message?: string
  /** Whether to say yes is to type the name or, of many, how many there are. */
  typed?: boolean
  /** Do it to the one of this id. */
  run?: Run<string>
  /** What to say when it is done to the one of this name. */
  done?: (name: string) => string
  /** How it is done to many at once. */
  bulk?: Bulk
}

export interface Bulk {
  /** What has to be chosen first. One of many is all that is offered then. */
  target?: 'role' | 'team'
  danger?: boolean
  /** A request about many, where the API has one. */
  together?: { atMost: number; run: Run<readonly string[]> }
}

/** Infers the names of the verbs. */
function table<Name extends string>(verbs: Record<Name, Verb>): Record<Name, Verb> {
  return verbs
}

export const USER_VERBS = table({
  edit: { label: 'Edit', needs: 'users:update', form: true },
  enable: {
    label: 'Enable',
    needs: 'users:update',
    active: false,
    message: 'They can log in again.',
    run: (id, { population }) => updateUser(population, id, { is_active: true }, null),
    done: (name) => `${name} is enabled.`,
    bulk: {},
  },
  disable: {
    label: 'Disable',
    needs: 'users:update',
    active: true,
    question: (name) => `Disable ${name}?`,
    message: 'They cannot log in until they are enabled again, and their sessions end now.',
    run: (id, { population, newOwner }) =>
      updateUser(population, id, { is_active: false }, null, newOwner),
    done: (name) => `${name} is disabled, and their sessions have ended.`,
    bulk: { danger: true },
  },
  'reset-password': {
    label: 'Reset password',
    needs: 'users:update',
    toOthers: true,
    form: true,
    question: (name) => `Reset the password of ${name}?`,
    message: 'They get a one-time password instead of theirs, and their sessions end.',
  },
  'end-sessions': {
    label: 'End sessions',
    needs: 'users:update',
    question: (name) => `End all sessions of ${name}?`,
    message: 'They are logged out everywhere at once and can log in again.',
    run: (id, { population }) => endSessions(population, id),
    done: (name) => `${name} is logged out everywhere.`,
    bulk: {},
  },
  unlock: {
    label: 'Unlock',
    needs: 'users:update',
    toOthers: true,
    message: 'Who failed too often can try to log in again.',
    run: (id, { population }) => unlockUser(population, id),
    done: (name) => `${name} is unlocked and can try to log in again.`,
    bulk: {},
  },
  roles: { label: 'Roles', needs: 'admin:users', form: true },
  teams: { label: 'Teams', needs: 'teams:manage', only: 'autobot', form: true },
  'assign-role': {
    label: 'Assign a role',
    needs: 'admin:users',
    message: 'You can give only roles whose permissions you have yourself.',
    run: (id, { population, target = '' }) => assignRole(population, id, target),
    bulk: { target: 'role' },
  },
  'revoke-role': {
    label: 'Remove a role',
    needs: 'admin:users',
    message: 'Who loses a role is logged out.',
    run: (id, { population, target = '' }) => revokeRole(population, id, target),
    bulk: { target: 'role' },
  },
  'add-to-team': {
    label: 'Add to a team',
    needs: 'teams:manage',
    only: 'autobot',
    message: 'They join as members. Who is in no organization yet becomes one of the team’s.',
    run: (id, { target = '' }) =>
      addTeamMember({ path: { team_id: target }, body: { user_id: id } }),
    bulk: {
      target: 'team',
      together: {
        atMost: 100,
        run: (ids, { target = '' }) =>
          changeTeamMembers({
            path: { team_id: target },
            body: { add: ids.map((id) => ({ user_id: id })) },
          }),
      },
    },
  },
  delete: {
    label: 'Delete',
    needs: 'users:delete',
    danger: true,
    question: (name) => `Delete ${name}?`,
    message: 'They cannot log in any more and are in no list. Their names are free again.',
    typed: true,
    run: (id, { population, newOwner }) => deleteUser(population, id, newOwner),
    done: (name) => `${name} is deleted.`,
    bulk: { danger: true },
  },
})

export const TEAM_VERBS = table({
  edit: { label: 'Edit', needs: 'teams:manage', form: true },
  delete: {
    label: 'Delete',
    needs: 'teams:delete',
    danger: true,
    question: () => 'Delete the team',
    message: 'Its members stay users, but what the team may see is theirs no more.',
    typed: true,
    run: (id) => deleteTeam({ path: { team_id: id } }),
    done: (name) => `The team ${name} is deleted.`,
  },
})

// What an organization is granted, and whether there is one, is not its own to say.
export const ORGANIZATION_VERBS = table({
  edit: { label: 'Edit', needs: 'admin:organization', form: true },
  deactivate: {
    label: 'Deactivate',
    needs: 'admin:organization',
    active: true,
    unlimited: true,
    danger: true,
    question: () => 'Deactivate the organization',
    message:
      'All its users are logged out at once, and cannot log in until it is active again. Its ' +
      'teams rest meanwhile.',
    typed: true,
    // The question says so.
    run: (id) => deactivateOrganization({ path: { org_id: id }, query: { with_teams: true } }),
    done: (name) => `${name} is inactive. Its users are logged out.`,
  },
  activate: {
    label: 'Activate',
    needs: 'admin:organization',
    active: false,
    unlimited: true,
    run: (id) => activateOrganization({ path: { org_id: id } }),
    done: (name) => `${name} is active. Its users can log in.`,
  },
  delete: {
    label: 'Delete',
    needs: 'admin:organization',
    unlimited: true,
    danger: true,
    question: () => 'Delete the organization',
    message: 'Its teams are deleted with it. It must have no users: delete or move them first.',
    typed: true,
    run: (id) => deleteOrganization({ path: { org_id: id } }),
    done: (name) => `${name} is deleted.`,
  },
})

export type UserVerb = keyof typeof USER_VERBS
export type TeamVerb = keyof typeof TEAM_VERBS
export type OrganizationVerb = keyof typeof ORGANIZATION_VERBS

/** Who would do it, and where. */
export interface Actor {
  population: Population
  can: (permission: Permission) => boolean
  isLimited?: boolean
  isOneself?: boolean
}

/** Whether it is done without a word before. */
export function isAtOnce({ form, question }: Verb): boolean {
  return !form && question === undefined
}

/** What a menu calls it. */
export function labelOf(verb: Verb): string {
  return isAtOnce(verb) ? verb.label : `${verb.label}…`
}

function mayDo(verb: Verb, { population, can, isLimited, isOneself }: Actor): boolean {
  const { needs, only = population, toOthers, unlimited } = verb
  const isRefused = (toOthers && isOneself) || (unlimited && isLimited)
  return !isRefused && only === population && (needs === undefined || can(needs))
}

/** What is offered for one of them. */
export function verbsFor<Name extends string>(
  verbs: Record<Name, Verb>,
  subject: { is_active?: boolean },
  actor: Actor,
): Name[] {
  return (Object.keys(verbs) as Name[]).filter((name) => {
    const { active = subject.is_active, bulk } = verbs[name]
    return mayDo(verbs[name], actor) && active === subject.is_active && !bulk?.target
  })
}

/** What is offered for many at once. */
export function bulkVerbsFor(actor: Actor): UserVerb[] {
  return (Object.keys(USER_VERBS) as UserVerb[]).filter(
    (name) => USER_VERBS[name].bulk !== undefined && mayDo(USER_VERBS[name], actor),
  )
}
