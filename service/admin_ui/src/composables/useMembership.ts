/** Who is in a team, and as what: from the team's side and from the user's. */

import { useMutation } from '@tanstack/vue-query'
import { computed, type ComputedRef } from 'vue'

import { successorChoices } from '@/api/choices'
import type { TeamRole } from '@/api/generated'
import { changeMember, TEAM_ROLES } from '@/api/teams'
import { announce } from '@/components/announcer'
import type { MenuAction } from '@/components/AppMenu.vue'
import { focusAfterDialog, keepFocus } from './focus'
import { withNewOwner } from './newOwner'
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

/** Make a member something else, or with null take them out; the last owner is followed by another. */
export function setMembership(
  teamId: string,
  userId: string,
  role: TeamRole | null,
): Promise<void> {
  const act = {
    verb: role === null ? 'remove' : 'change',
    successors: successorChoices(userId, { team_id: teamId }),
  }
  return withNewOwner(act, (newOwner) => changeMember(teamId, userId, role, newOwner))
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

/** Changes of members. `heading` gets the focus when the row goes that had it, or its menu rests. */
export function useMembership(heading: () => HTMLElement | null): Membership {
  const invalidate = useInvalidation()

  const { mutate, isPending, error } = useMutation({
    mutationFn: ({ teamId, userId, role }: Change) => setMembership(teamId, userId, role),
    onSuccess: (_, { teamId, userId, role }) => {
      announce(role === null ? 'They have left the team.' : `They are ${role} of the team now.`)
      if (role === null) void focusAfterDialog(heading)
      changed(teamId, userId)
    },
    // After the dialog that asked for a new owner.
    onSettled: () => void setTimeout(() => keepFocus(heading)),
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
