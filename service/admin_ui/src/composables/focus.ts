/** Where the focus goes. */

import { nextTick } from 'vue'

/**
 * Focus an element after the dialog that is about to close has given the focus back: what it was
 * opened from is about to go.
 */
export async function focusAfterDialog(element: HTMLElement | null): Promise<void> {
  await nextTick()
  setTimeout(() => element?.focus())
}
