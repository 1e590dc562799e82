import { QueryClient, VueQueryPlugin } from '@tanstack/vue-query'
import { flushPromises, mount } from '@vue/test-utils'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import type { ChoiceSource } from '@/api/choices'
import EntitySelect from '@/components/EntitySelect.vue'

const NAMES = ['Amber', 'Blue', 'Blush']

const source: ChoiceSource = {
  key: ['colours'],
  find: async (search) => ({
    items: NAMES.filter((name) => name.toLowerCase().includes(search.toLowerCase())).map(
      (name) => ({ id: name, name }),
    ),
    hasMore: false,
  }),
  read: async (id) => ({ id, name: `The ${id}` }),
}

function mounted(modelValue: string | null = null) {
  const select = mount(EntitySelect, {
    props: {
      modelValue,
      source,
      'onUpdate:modelValue': (value: string | null) => select.setProps({ modelValue: value }),
    },
    attrs: { 'aria-label': 'Colour' },
    global: { plugins: [[VueQueryPlugin, { queryClient: new QueryClient() }]] },
    attachTo: document.body,
  })
  return select
}

async function type(select: ReturnType<typeof mounted>, text: string): Promise<void> {
  await select.find('input').setValue(text)
  await vi.advanceTimersByTimeAsync(250)
  await flushPromises()
}

describe('EntitySelect', () => {
  beforeEach(() => vi.useFakeTimers({ shouldAdvanceTime: true }))
  afterEach(() => {
    vi.useRealTimers()
    document.body.replaceChildren()
  })

  it('finds as one types, and picks by the keyboard', async () => {
    const select = mounted()
    await type(select, 'bl')
    expect(select.findAll('[role=option]').map((each) => each.text())).toEqual(['Blue', 'Blush'])
    const input = select.find('input')
    await input.trigger('keydown', { key: 'ArrowDown' })
    await input.trigger('keydown', { key: 'ArrowDown' })
    expect(input.attributes('aria-activedescendant')).toBe(
      select.findAll('[role=option]')[1]?.attributes('id'),
    )
    await input.trigger('keydown', { key: 'Enter' })
    expect(select.props('modelValue')).toBe('Blush')
    expect(input.element.value).toBe('Blush')
    expect(input.attributes('aria-expanded')).toBe('false')
  })

  it('shows the name of an id', async () => {
    const select = mounted('Blue')
    await vi.advanceTimersByTimeAsync(10)
    await flushPromises()
    expect(select.find('input').element.value).toBe('The Blue')
  })

  it('keeps what is picked when the typing leads nowhere', async () => {
    const select = mounted('Blue')
    await vi.advanceTimersByTimeAsync(10)
    await type(select, 'xyz')
    expect(select.text()).toContain('Nothing is found')
    await select.find('input').trigger('focusout')
    expect(select.props('modelValue')).toBe('Blue')
    expect(select.find('input').element.value).toBe('The Blue')
  })

  it('picks nothing when it is emptied', async () => {
    const select = mounted('Blue')
    await type(select, '')
    await select.find('input').trigger('focusout')
    expect(select.props('modelValue')).toBeNull()
  })

  it('keeps Escape from what is around it while it is open', async () => {
    const select = mounted()
    const heard = vi.fn()
    document.body.addEventListener('keydown', heard, { once: true })
    await type(select, 'bl')
    await select.find('input').trigger('keydown', { key: 'Escape' })
    expect(heard).not.toHaveBeenCalled()
    await select.find('input').trigger('keydown', { key: 'Escape' })
    expect(heard).toHaveBeenCalledOnce()
  })
})
