import { mount } from '@vue/test-utils'
import { describe, expect, it } from 'vitest'

import FormField from '@/components/FormField.vue'

describe('FormField', () => {
  it('ties a control to its label, hint and fault', () => {
    const field = mount(FormField, {
      props: { label: 'Name', hint: 'Any.', error: 'Taken.' },
      slots: { default: '<template #default="field"><input v-bind="field" /></template>' },
    })
    const input = field.find('input')
    expect(field.find('label').attributes('for')).toBe(input.attributes('id'))
    const described = input.attributes('aria-describedby')?.split(' ') ?? []
    expect(described.map((id) => field.get(`#${id}`).text())).toEqual(['Any.', 'Taken.'])
    expect(input.attributes('aria-invalid')).toBe('true')
  })
})
