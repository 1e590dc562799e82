/** Who is in a team, and as what: from the team's side and from the user's. */

import { useMutation } from '@tanstack/vue-query'
import { computed, type ComputedRef } from 'vue'

import { changeTeamMember, removeTeamMember, type TeamRole } from '@/api/generated'
import { TEAM_ROLES } from '@/api/teams'
import { announce } from '@/components/announcer'
import type { MenuAction } from '@/components/AppMenu.vue'
import { useInvalidation } from './useInvalidation'

/** What the menu of a membership offers: the other roles, and to leave. */
export function membershipActions(
  role: string,
  change: (role: TeamRole) => void,
  remove: () => void,
): MenuAction[] {
  return [
    ...TEAM_ROLES.filter(([other]) => other !== role).map(([other, name]) => ({
      label: `Make ${name.toLowerCase()}`,
      run: () => change(other),
    })),
    { label: 'Remove from the team', danger: true, run: remove },
  ]
}

interface Change {
  teamId: string
  userId: string
  /** Null: they leave. */
  role: TeamRole | null
}

export interface Membership {
  change: (teamId: string, userId: string, role: TeamRole) => void
  remove: (teamId: string, userId: string) => void
  /** To be told of what was changed otherwise. */
  changed: (teamId: string, userId: string) => void
  isBusy: ComputedRef<boolean>
  error: ComputedRef<unknown>
}

/** Changes of members; `onGone` when the row of one goes, and the focus with it. */
export function useMembership(onGone: () => void): Membership {
  const invalidate = useInvalidation()

  const { mutate, isPending, error } = useMutation({
    mutationFn: async ({ teamId, userId, role }: Change) => {
      const path = { team_id: teamId, user_id: userId }
      if (role === null) await removeTeamMember({ path })
      else await changeTeamMember({ path, body: { role } })
    },
    onSuccess: (_, { teamId, userId, role }) => {
      announce(role === null ? 'They have left the team.' : `They are ${role} of the team now.`)
      if (role === null) onGone()
      changed(teamId, userId)
    },
  })

  function changed(teamId: string, userId: string): void {
    invalidate(
      ['team', teamId],
      ['teams'],
      ['user', 'autobot', userId],
      // Who was in no organization is in the team's now.
      ['users', 'autobot'],
      ['organizations'],
      ['audit', 'autobot'],
    )
  }

  return {
    change: (teamId, userId, role) => mutate({ teamId, userId, role }),
    remove: (teamId, userId) => mutate({ teamId, userId, role: null }),
    changed,
    isBusy: computed(() => isPending.value),
    error: computed(() => error.value),
  }
}
