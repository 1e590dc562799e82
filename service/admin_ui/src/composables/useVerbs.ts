/** What is done to one of a list, from its menus or from its drawer. */

import { useMutation } from '@tanstack/vue-query'
import { computed, shallowRef, type ComputedRef, type ShallowRef } from 'vue'

import type { ChoiceSource } from '@/api/choices'
import type { Population } from '@/api/generated'
import { messageOf } from '@/api/problem'
import { announce, announceFailure } from '@/components/announcer'
import type { MenuAction } from '@/components/AppMenu.vue'
import { useRights } from '@/session/session'
import { isAtOnce, labelOf, verbsFor, type Actor, type Verb } from '@/verbs'
import { withNewOwner } from './newOwner'

/** What it is done to. */
export interface Subject {
  id: string
  is_active?: boolean
}

export interface Asked<Name, T> {
  verb: Name
  subject: T
}

/** What a dialog asks before it is done. */
export interface Question {
  title: string
  message: string
  /** What the button says. */
  action: string
  /** What has to be typed. */
  name?: string
}

export interface VerbOptions<Name extends string, T> {
  verbs: Record<Name, Verb>
  population: Population
  nameOf: (subject: T) => string
  /** Who may own the teams that would lose their last owner, where that can happen. */
  successors?: (subject: T) => ChoiceSource
  /** Have what is shown of it read anew. */
  changed: (subject: T) => void
  /** Hears of each that is deleted. */
  onGone: (subject: T) => void
}

export interface Verbs<Name extends string = string, T = unknown> {
  /** What a dialog is open about. */
  asked: ShallowRef<Asked<Name, T> | null>
  /** What it asks, where it has no more to ask. */
  question: ComputedRef<Question | null>
  /** The menu of what the person is offered. */
  actionsFor: (subject: T) => MenuAction[]
  /** Begin one: at once, or with a dialog. */
  ask: (verb: Name, subject: T) => void
  /** Do what was asked for, after a yes. */
  confirm: () => void
  /** Leave it undone. */
  close: () => void
  isBusy: ComputedRef<boolean>
  error: ComputedRef<unknown>
}

/** The rights of the person as to the users, teams or organizations of a population. */
export function useActor(population: Population): (id: string) => Actor {
  const { can, isLimited, isOneself } = useRights()
  return (id) => ({
    population,
    can,
    isLimited: isLimited.value,
    isOneself: isOneself(population, id),
  })
}

/** What `verbs` says, done: asked, sent, told, and shown. */
export function useVerbs<Name extends string, T extends Subject>({
  verbs,
  population,
  nameOf,
  successors,
  changed,
  onGone,
}: VerbOptions<Name, T>): Verbs<Name, T> {
  const actorFor = useActor(population)
  const asked: ShallowRef<Asked<Name, T> | null> = shallowRef(null)

  const { mutate, isPending, error, reset } = useMutation({
    mutationFn: async ({ verb, subject }: Asked<Name, T>) => {
      const run = async (newOwner?: string) =>
        verbs[verb].run?.(subject.id, { population, newOwner })
      return successors === undefined
        ? run()
        : withNewOwner({ verb, successors: successors(subject) }, run)
    },
    onSuccess: (_, what) => {
      const { verb, subject } = what
      announce(verbs[verb].done?.(nameOf(subject)) ?? '')
      // Not the dialog that was opened meanwhile about something else.
      if (asked.value === what) asked.value = null
      changed(subject)
      if (verb === 'delete') onGone(subject)
    },
    onError: (failure, what) => {
      // Its dialog shows it itself.
      if (asked.value !== what) announceFailure(`${nameOf(what.subject)}: ${messageOf(failure)}`)
    },
  })

  function ask(verb: Name, subject: T): void {
    reset()
    if (isAtOnce(verbs[verb])) mutate({ verb, subject })
    else asked.value = { verb, subject }
  }

  const question = computed(() => {
    if (asked.value === null) return null
    const { form, question: title, message = '', label, typed } = verbs[asked.value.verb]
    if (form || title === undefined) return null
    const name = nameOf(asked.value.subject)
    return { title: title(name), message, action: label, name: typed ? name : undefined }
  })

  return {
    asked,
    question,
    ask,
    actionsFor: (subject) =>
      verbsFor(verbs, subject, actorFor(subject.id)).map((verb) => ({
        label: labelOf(verbs[verb]),
        danger: verbs[verb].danger,
        run: () => ask(verb, subject),
      })),
    confirm: () => {
      if (asked.value !== null) mutate(asked.value)
    },
    close: () => (asked.value = null),
    isBusy: computed(() => isPending.value),
    error: computed(() => error.value),
  }
}
