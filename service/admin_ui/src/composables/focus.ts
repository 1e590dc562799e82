/** Where the focus goes. */

import { nextTick } from 'vue'

/**
 * Focus what `find` gives, after a dialog that is about to close has given the focus back: what it
 * was opened from is about to go.
 */
export async function focusAfterDialog(find: () => HTMLElement | null): Promise<void> {
  await nextTick()
  setTimeout(() => {
    const element = find()
    if (element === null) return
    if (!element.hasAttribute('tabindex')) element.tabIndex = -1
    element.focus()
  })
}
