/** Results, said once to everybody: shown for a while, and read aloud by screen readers. */

import { ref } from 'vue'

export interface Announcement {
  id: number
  text: string
  kind: 'done' | 'failed'
}

/** How long what was done stays, in milliseconds; what failed stays until it is closed. */
const SHOWN = 6_000

export const announcements = ref<Announcement[]>([])

let last = 0

/** Tell people what was done. */
export function announce(text: string): void {
  const id = add(text, 'done')
  setTimeout(() => dismiss(id), SHOWN)
}

/** Tell people what failed, and what to do. */
export function announceFailure(text: string): void {
  add(text, 'failed')
}

/** Take an announcement away. */
export function dismiss(id: number): void {
  announcements.value = announcements.value.filter((each) => each.id !== id)
}

function add(text: string, kind: Announcement['kind']): number {
  last += 1
  announcements.value.push({ id: last, text, kind })
  return last
}
