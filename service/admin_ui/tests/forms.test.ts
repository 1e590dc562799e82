import { describe, expect, it } from 'vitest'

import type { OrganizationResponse, TeamResponse } from '@/api/generated'
import { newOrganization, organizationBody, organizationForm } from '@/api/organizations'
import { teamBody, teamForm } from '@/api/teams'

const organization = {
  name: 'Acme',
  description: null,
  subscription_tier: 'legacy',
  max_users: -1,
} as OrganizationResponse

describe('an organization’s form', () => {
  it('shows any number of users as an empty box', () => {
    expect(organizationForm(organization).max_users).toBe('')
    expect(organizationBody({ max_users: '' })).toEqual({ max_users: -1 })
    expect(organizationBody({ max_users: 0 })).toEqual({ max_users: 0 })
  })

  it('gives what is given only, and an emptied description as none', () => {
    expect(organizationBody({ description: ' ' })).toEqual({ description: null })
  })

  it('never sends a subscription that the API does not know', () => {
    expect(organizationBody({ subscription_tier: 'legacy' })).toEqual({})
    expect(organizationBody({ subscription_tier: 'pro' })).toEqual({ subscription_tier: 'pro' })
  })

  it('has the slug made from the name unless one is typed', () => {
    const form = { ...organizationForm(organization), subscription_tier: 'free' }
    expect(newOrganization(form, ' ')).not.toHaveProperty('slug')
    expect(newOrganization(form, 'acme')).toMatchObject({ name: 'Acme', slug: 'acme' })
  })
})

describe('a team’s form', () => {
  it('gives back what it was read from', () => {
    const team = { name: 'Crew', description: null, is_default: true } as TeamResponse
    expect(teamBody(teamForm(team))).toEqual({ ...team })
  })

  it('gives what is given only', () => {
    expect(teamBody({ is_default: false })).toEqual({ is_default: false })
  })
})
