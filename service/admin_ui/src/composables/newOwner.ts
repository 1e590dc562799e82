/** Teams that an act would leave without an owner: somebody is asked who is to own them. */

import { shallowRef } from 'vue'

import type { ChoiceSource } from '@/api/choices'
import { isProblem } from '@/api/problem'
import { holds, personShown } from '@/session/session'

/** What would leave them without one. */
export interface Act {
  /** A verb, as the button has it. */
  verb: string
  /** Who may own them instead. */
  successors: ChoiceSource
}

/** What the dialog (NewOwnerDialog) is open about. */
export interface Handover extends Act {
  /** Names the teams. */
  message: string
  /** Do it with the new owner. Throws ApiProblem when that one cannot be it. */
  repeat: (newOwner: string) => Promise<void>
  /** Leave it undone. */
  cancel: () => void
}

export const handover = shallowRef<Handover | null>(null)

/**
 * Do what `run` does. Where the API refuses because teams would lose their last owner, whoever may
 * hand teams over is asked for another, with whom it is done again. Throws what the API says.
 */
export async function withNewOwner<T>(
  act: Act,
  run: (newOwner?: string) => Promise<T>,
): Promise<T> {
  try {
    return await run()
  } catch (refusal) {
    const canAsk = handover.value === null && holds(personShown(), 'teams:manage')
    if (!canAsk || !isProblem(refusal, 'last_owner')) throw refusal
    return new Promise((resolve, reject) => {
      handover.value = {
        ...act,
        message: refusal.message,
        repeat: async (newOwner) => {
          try {
            resolve(await run(newOwner))
          } catch (failure) {
            // Another one may do. Everything else is shown where the act was begun.
            if (isProblem(failure, 'validation_error')) throw failure
            reject(failure)
          }
          handover.value = null
        },
        cancel: () => {
          handover.value = null
          reject(refusal)
        },
      }
    })
  }
}
