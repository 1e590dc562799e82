/** Edits of what somebody else may have changed since it was read (`If-Match`, 412). */

import { useMutation } from '@tanstack/vue-query'
import { shallowRef, type Ref } from 'vue'

import type { Versioned } from '@/api/populations'
import { isProblem } from '@/api/problem'

/** A field of a form, and how its value reads. */
export interface EditedField<T> {
  key: keyof T & string
  label: string
  /** Without it: text as it is, yes or no, a dash for nothing. */
  show?: (value: T[keyof T]) => string
}

export type Side = 'mine' | 'theirs'

/** A field that I have one way and that is another way now. */
export interface Difference<T> {
  field: EditedField<T>
  mine: string
  theirs: string
  /** Whether both have changed it. */
  isContested: boolean
  /** Who has changed it; theirs where both have, so that nothing is overwritten unasked. */
  suggested: Side
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

function shown(value: unknown): string {
  if (value === null || value === undefined || value === '') return '—'
  if (typeof value === 'boolean') return value ? 'Yes' : 'No'
  return String(value)
}

/** The fields of `mine` that are not as they are in `base`. */
export function changesOf<T extends object>(base: T, mine: T): Partial<T> {
  const changes: Partial<T> = {}
  for (const key of Object.keys(mine) as (keyof T)[]) {
    if (!isSame(base[key], mine[key])) changes[key] = mine[key]
  }
  return changes
}

/** The fields to choose about: what I read is `base`, what is there now `theirs`. */
export function differencesOf<T extends object>(
  base: T,
  mine: T,
  theirs: T,
  fields: readonly EditedField<T>[],
): Difference<T>[] {
  return fields
    .filter(({ key }) => !isSame(mine[key], theirs[key]))
    .map((field) => {
      const { key, show = shown } = field
      const isTheirs = !isSame(base[key], theirs[key])
      return {
        field,
        mine: show(mine[key]),
        theirs: show(theirs[key]),
        isContested: isTheirs && !isSame(base[key], mine[key]),
        suggested: isTheirs ? 'theirs' : 'mine',
      }
    })
}

/** `theirs`, with mine where that was chosen. */
export function merged<T extends object>(
  mine: T,
  theirs: T,
  choices: Partial<Record<keyof T, Side>>,
): T {
  const result = { ...theirs }
  for (const key of Object.keys(choices) as (keyof T)[]) {
    if (choices[key] === 'mine') result[key] = mine[key]
  }
  return result
}

/**
 * Write what is changed. Null: it is as `mine` says; otherwise what is there now, because somebody
 * has changed one of the same form's fields. What else of it was changed is no reason to ask.
 */
export async function saveVersioned<T extends object>(
  base: Versioned<T>,
  mine: T,
  read: () => Promise<Versioned<T>>,
  write: (changes: Partial<T>, etag: string) => Promise<unknown>,
): Promise<Versioned<T> | null> {
  let known = base
  for (;;) {
    const changes = changesOf(known.value, mine)
    if (Object.keys(changes).length === 0) return null
    try {
      await write(changes, known.etag)
      return null
    } catch (error) {
      if (!isProblem(error, 'precondition_failed')) throw error
      known = await read()
      const isMine = Object.keys(changesOf(known.value, mine)).length === 0
      const isBase = Object.keys(changesOf(base.value, known.value)).length === 0
      if (!isMine && !isBase) return known
    }
  }
}

export interface Conflict<T> {
  base: T
  mine: T
  theirs: T
}

export interface VersionedEdit<T> {
  /** Write these values; after a conflict, the merged ones. */
  save: (mine: T) => void
  /** What to choose about (ConflictChoice), or null. */
  conflict: Ref<Conflict<T> | null>
  isPending: Ref<boolean>
  error: Ref<unknown>
}

/** The saving of a form that was opened with `opened`. */
export function useVersionedEdit<T extends object>(options: {
  opened: Versioned<T>
  read: () => Promise<Versioned<T>>
  write: (changes: Partial<T>, etag: string) => Promise<unknown>
  onSaved: () => void
}): VersionedEdit<T> {
  const base = shallowRef(options.opened)
  const conflict = shallowRef<Conflict<T> | null>(null)

  const { mutate, isPending, error } = useMutation({
    mutationFn: (mine: T) => saveVersioned(base.value, mine, options.read, options.write),
    onSuccess: (theirs, mine) => {
      if (theirs === null) {
        conflict.value = null
        options.onSaved()
      } else {
        conflict.value = { base: base.value.value, mine, theirs: theirs.value }
        // From here on, what is there now is what a change is made to.
        base.value = theirs
      }
    },
  })

  return { save: (mine) => mutate({ ...mine }), conflict, isPending, error }
}
