/** Organizations with their versions, and what of them can be edited. */

import {
  getOrganization,
  updateOrganization,
  type OrganizationCreate,
  type OrganizationResponse,
  type OrganizationUpdate,
} from './generated'
import type { Versioned } from './populations'

export const TIERS = ['free', 'pro', 'enterprise'] as const

/** `max_users` of an organization that may have any number. */
const UNLIMITED = -1

/** An organization's form; `max_users` empty: any number. */
export interface OrganizationForm {
  name: string
  description: string
  subscription_tier: string
  max_users: number | ''
}

/** The form of an organization. */
export function organizationForm(organization: OrganizationResponse): OrganizationForm {
  const { name, description, subscription_tier, max_users } = organization
  return {
    name,
    description: description ?? '',
    subscription_tier: subscription_tier ?? '',
    max_users: max_users === UNLIMITED ? '' : max_users,
  }
}

/** The fields of the form that are given, as the API takes them. */
export function organizationBody(form: Partial<OrganizationForm>): OrganizationUpdate {
  const { name, description, subscription_tier, max_users } = form
  const tier = TIERS.find((each) => each === subscription_tier)
  return {
    ...(name !== undefined && { name }),
    ...(description !== undefined && { description: description.trim() || null }),
    ...(tier !== undefined && { subscription_tier: tier }),
    ...(max_users !== undefined && { max_users: max_users === '' ? UNLIMITED : max_users }),
  }
}

/** A new organization; without a slug it gets one that is made from the name. */
export function newOrganization(form: OrganizationForm, slug: string): OrganizationCreate {
  return {
    ...organizationBody(form),
    name: form.name,
    ...(slug.trim() && { slug: slug.trim() }),
  }
}

/** How many users it may have, in words. */
export function maxUsersInWords(maxUsers: number | ''): string {
  return maxUsers === '' || maxUsers === UNLIMITED ? 'Any number' : String(maxUsers)
}

/** Read an organization with its version. */
export async function readOrganization(
  id: string,
  signal?: AbortSignal,
): Promise<Versioned<OrganizationResponse>> {
  const { data, response } = await getOrganization({ path: { org_id: id }, signal })
  return { value: data, etag: response.headers.get('ETag') ?? '' }
}

/** Change an organization, if nobody else has since `etag` was read. */
export async function changeOrganization(
  id: string,
  changes: Partial<OrganizationForm>,
  etag: string,
): Promise<void> {
  await updateOrganization({
    path: { org_id: id },
    headers: { 'if-match': etag },
    body: organizationBody(changes),
  })
}
