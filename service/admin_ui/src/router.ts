import { createRouter, createWebHistory, type RouteRecordRaw } from 'vue-router'

import { isProblem } from './api/problem'
import { currentUserQuery, ending, mayHaveSession, queryClient } from './session/session'
import { tabsOf } from './tabs'

declare module 'vue-router' {
  interface RouteMeta {
    title: string
    /** Whether it is for people who are not logged in. */
    isPublic?: boolean
  }
}

const START = '/settings/admin/users'

const routes: RouteRecordRaw[] = [
  { path: '/', redirect: START },
  {
    path: '/login',
    component: () => import('./views/LoginView.vue'),
    meta: { title: 'Log in', isPublic: true },
  },
  {
    path: '/change-password',
    component: () => import('./views/ChangePasswordView.vue'),
    meta: { title: 'Change password', isPublic: true },
  },
  {
    path: '/settings',
    component: () => import('./views/SettingsLayout.vue'),
    redirect: START,
    children: [
      {
        path: 'admin/users',
        component: () => import('./views/users/UsersView.vue'),
        props: { population: 'slm' },
        meta: { title: 'SLM Administrators' },
      },
      {
        path: 'admin/users/autobot',
        component: () => import('./views/users/UsersView.vue'),
        props: { population: 'autobot' },
        meta: { title: 'AutoBot Users' },
      },
      {
        path: 'admin/users/import/:population(slm|autobot)',
        component: () => import('./views/transfer/ImportView.vue'),
        props: true,
        meta: { title: 'Import' },
      },
      {
        path: 'admin/teams',
        component: () => import('./views/teams/TeamsView.vue'),
        meta: { title: 'Teams' },
      },
      {
        path: 'admin/organizations',
        component: () => import('./views/organizations/OrganizationsView.vue'),
        meta: { title: 'Organizations' },
      },
      {
        path: 'admin/audit',
        component: () => import('./views/audit/AuditView.vue'),
        meta: { title: 'Audit' },
      },
      {
        path: 'account',
        component: () => import('./views/AccountView.vue'),
        meta: { title: 'My account' },
      },
    ],
  },
  {
    path: '/:unknown(.*)*',
    component: () => import('./views/NotFoundView.vue'),
    meta: { title: 'Not found', isPublic: true },
  },
]

export const router = createRouter({ history: createWebHistory(import.meta.env.BASE_URL), routes })

router.beforeEach(async (to) => {
  if (to.meta.isPublic) return true
  const login = { path: '/login', query: { next: to.fullPath } }
  if (!mayHaveSession()) return login
  try {
    const me = await queryClient.ensureQueryData(currentUserQuery)
    const [first] = tabsOf(me)
    if (to.path === START && first) return first.to === START || first.to
  } catch (error) {
    if (isProblem(error, 'not_authenticated')) {
      ending.value = null
      return login
    }
    if (isProblem(error, 'password_change_required')) return '/change-password'
    // Everything else is shown, with a way to try again, by the page itself.
  }
  return true
})

router.afterEach((to) => {
  document.title = `${to.meta.title} · AutoBot user management`
})

/** Where to go after a login: a page of this site only, whatever the address says. */
export function pageAfterLogin(next: unknown): string {
  if (typeof next !== 'string' || !next.startsWith('/')) return START
  // As the browser reads it: it drops tabs, and takes a backslash for a slash.
  const url = URL.parse(next, location.origin)
  if (url?.origin !== location.origin || /^\/(\/|login$)/.test(url.pathname)) return START
  return url.pathname + url.search + url.hash
}
