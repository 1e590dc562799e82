/** Where the focus goes. */

import { nextTick } from 'vue'

/**
 * Focus what `find` gives, after a dialog that is about to close has given the focus back: what it
 * was opened from is about to go.
 */
export async function focusAfterDialog(find: () => HTMLElement | null): Promise<void> {
  await nextTick()
  setTimeout(() => lead(find()))
}

/** Focus what `find` gives if what had the focus is gone, or can have it no longer. */
export async function keepFocus(find: () => HTMLElement | null): Promise<void> {
  await nextTick()
  if (document.activeElement === document.body) lead(find(), { preventScroll: true })
}

function lead(element: HTMLElement | null, options?: FocusOptions): void {
  if (element === null) return
  if (!element.hasAttribute('tabindex')) element.tabIndex = -1
  element.focus(options)
}
