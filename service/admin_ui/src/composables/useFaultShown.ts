/** An error must be seen, in a form longer than the screen too. */

import { nextTick, watch, type Ref, type WatchSource } from 'vue'

/** When `error` appears, go to the first field that is wrong, or else to the notice. */
export function useFaultShown(
  form: Readonly<Ref<HTMLElement | null>>,
  error: WatchSource<unknown>,
): void {
  watch(error, async (now) => {
    if (now == null) return
    await nextTick()
    const place = form.value?.querySelector<HTMLElement>('[aria-invalid="true"], [role="alert"]')
    place?.focus()
    place?.scrollIntoView({ block: 'nearest' })
  })
}
