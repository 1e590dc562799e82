import { mount } from '@vue/test-utils'
import { expect, it } from 'vitest'

import PasswordInput from '@/components/PasswordInput.vue'

it('hides what is typed until somebody asks to see it', async () => {
  const field = mount(PasswordInput, {
    props: { modelValue: 'secret' },
    attrs: { autocomplete: 'current-password', id: 'x' },
  })
  const input = field.get('input')
  expect(input.attributes()).toMatchObject({
    type: 'password',
    autocomplete: 'current-password',
    id: 'x',
  })
  await field.get('button').trigger('click')
  expect(input.attributes('type')).toBe('text')
  expect(field.get('button').attributes('aria-pressed')).toBe('true')
  await field.get('button').trigger('click')
  expect(input.attributes('type')).toBe('password')
})
