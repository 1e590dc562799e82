import { QueryClient, VueQueryPlugin } from '@tanstack/vue-query'
import { flushPromises, mount } from '@vue/test-utils'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { ref } from 'vue'

import { usePages, type ListPage, type Pages } from '@/composables/usePages'

let unmount: () => void
afterEach(() => unmount())

/** Pages of a list of ten per page that tests change; a cursor is where a page begins. */
function pagesOf(rows: number[], search = ref('')) {
  const queryClient = new QueryClient()
  let pages!: Pages<number>
  const load = vi.fn(async (cursor: string | null): Promise<ListPage<number>> => {
    const begin = Number(cursor ?? 0)
    const next = rows.length > begin + 10 ? String(begin + 10) : null
    return { items: rows.slice(begin, begin + 10), next }
  })
  const wrapper = mount(
    {
      setup: () => {
        pages = usePages(() => ['rows', search.value], load)
        return () => null
      },
    },
    { global: { plugins: [[VueQueryPlugin, { queryClient }]] } },
  )
  unmount = () => wrapper.unmount()
  return { pages, reread: () => queryClient.invalidateQueries() }
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index)

describe('usePages', () => {
  it('goes there and back, and no further', async () => {
    const { pages } = pagesOf(numbers(11))
    await flushPromises()
    pages.previous()
    expect(pages.page.value).toBe(1)
    pages.next()
    await flushPromises()
    expect(pages.items.value).toEqual([10])
    pages.next()
    expect(pages.page.value).toBe(2)
    pages.previous()
    await flushPromises()
    expect(pages.items.value).toEqual(numbers(10))
  })

  it('goes back when the last row of the last page is gone', async () => {
    const rows = numbers(11)
    const { pages, reread } = pagesOf(rows)
    await flushPromises()
    pages.next()
    await flushPromises()
    rows.pop()
    await reread()
    await flushPromises()
    expect(pages.page.value).toBe(1)
    expect(pages.items.value).toEqual(numbers(10))
    expect(pages.hasNext.value).toBe(false)
  })

  it('begins anew when something else is asked for', async () => {
    const search = ref('')
    const { pages } = pagesOf(numbers(30), search)
    await flushPromises()
    pages.next()
    await flushPromises()
    search.value = 'x'
    await flushPromises()
    expect(pages.page.value).toBe(1)
    expect(pages.items.value).toEqual(numbers(10))
  })
})
