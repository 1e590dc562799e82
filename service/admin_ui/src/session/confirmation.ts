/** Proving again who one is, where a session is too old for what it asks: one dialog for all. */

import { ref } from 'vue'

import { confirm } from '@/api/generated'
import { onConfirmationAsked } from '@/api/client'

/** Whether somebody has to prove who they are now. */
export const isAsked = ref(false)

let waiting: ((confirmed: boolean) => void)[] = []

onConfirmationAsked(
  () =>
    new Promise((answer) => {
      waiting.push(answer)
      isAsked.value = true
    }),
)

/** Prove it with the password. What was refused is then repeated. Throws ApiProblem, Offline. */
export async function confirmIdentity(password: string): Promise<void> {
  await confirm({ body: { current_password: password } })
  answer(true)
}

/** Leave what was refused undone. */
export function refuse(): void {
  answer(false)
}

function answer(confirmed: boolean): void {
  const all = waiting
  waiting = []
  isAsked.value = false
  for (const each of all) each(confirmed)
}
