/** The tabs of the user management, and whose they are. */

import type { CurrentUserResponse, Permission } from './api/generated'
import { holds } from './session/session'

export interface Tab {
  to: string
  title: string
  needs: Permission
  /** Whether it shows what no organization has a part in. */
  siteOnly?: boolean
}

const TABS: readonly Tab[] = [
  {
    to: '/settings/admin/users',
    title: 'SLM Administrators',
    needs: 'users:read',
    siteOnly: true,
  },
  { to: '/settings/admin/users/autobot', title: 'AutoBot Users', needs: 'users:read' },
  { to: '/settings/admin/teams', title: 'Teams', needs: 'teams:read' },
  { to: '/settings/admin/organizations', title: 'Organizations', needs: 'admin:organization' },
  { to: '/settings/admin/audit', title: 'Audit', needs: 'audit:read' },
]

/** The tabs that a person sees. */
export function tabsOf(person: CurrentUserResponse): Tab[] {
  const isLimited = person.org_id !== null
  return TABS.filter((tab) => holds(person, tab.needs) && !(tab.siteOnly && isLimited))
}
