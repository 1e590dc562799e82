/** What a form of a user holds; texts are empty where the user has none. */

import type { UserResponse, UserUpdate } from '@/api/generated'
import type { EditedField } from '@/composables/conflicts'

export interface UserForm {
  username: string
  email: string
  display_name: string
  org_id: string | null
  is_admin: boolean
}

export interface UserEdit extends UserForm {
  bio: string
  avatar_url: string
  is_active: boolean
}

export const NEW_USER: UserForm = {
  username: '',
  email: '',
  display_name: '',
  org_id: null,
  is_admin: false,
}

/** What can be edited, as people call it; `nameOf` is an organization's name. */
export function editedFields(nameOf: (orgId: string) => string): EditedField<UserEdit>[] {
  return [
    { key: 'username', label: 'User name' },
    { key: 'email', label: 'E-mail address' },
    { key: 'display_name', label: 'Display name' },
    { key: 'bio', label: 'About' },
    { key: 'avatar_url', label: 'Address of a picture' },
    {
      key: 'org_id',
      label: 'Organization',
      show: (orgId) => (typeof orgId === 'string' ? nameOf(orgId) : '—'),
    },
    { key: 'is_admin', label: 'Administrator' },
    { key: 'is_active', label: 'Active' },
  ]
}

/** What of oneself takes the current password to change, however it is written. */
const PROTECTED = ['username', 'email'] as const

/** Whether what somebody logs in with becomes another. */
export function changesLogin(before: UserEdit, now: UserEdit): boolean {
  return PROTECTED.some((field) => before[field].toLowerCase() !== now[field].toLowerCase())
}

/** A user as a form holds them. */
export function editOf(user: UserResponse): UserEdit {
  return {
    username: user.username,
    email: user.email,
    display_name: user.display_name ?? '',
    org_id: user.org_id,
    is_admin: user.is_platform_admin,
    bio: user.bio ?? '',
    avatar_url: user.avatar_url ?? '',
    is_active: user.is_active,
  }
}

const OPTIONAL = ['display_name', 'bio', 'avatar_url'] as const

/** Changed fields as the API takes them: an emptied text is none. */
export function updateOf(changes: Partial<UserEdit>): UserUpdate {
  const update: UserUpdate = { ...changes }
  for (const field of OPTIONAL) if (update[field] === '') update[field] = null
  return update
}
