/** The steps of an import: choose a file, see what would be done, do it. */

import {
  computed,
  onBeforeUnmount,
  onMounted,
  ref,
  shallowRef,
  type ComputedRef,
  type Ref,
  type ShallowRef,
} from 'vue'

import type { Population } from '@/api/generated'
import { announce, announceFailure } from '@/components/announcer'
import { useInvalidation } from '@/composables/useInvalidation'
import { formatOf, type ImportFormat } from './format'
import { runImport } from './importing'
import { changedUsers, type Report } from './report'

/** Bytes that the API takes. */
const LARGEST = 64 * 2 ** 20

/** Milliseconds between two looks at how far it is; rows come faster than anybody reads. */
const LOOK = 250

export type Stage = 'choose' | 'checking' | 'checked' | 'importing' | 'imported'

/** A file as it was when it was chosen: what is imported is what was looked through. */
export interface ChosenFile {
  name: string
  content: Blob
}

export interface Import {
  stage: Ref<Stage>
  file: ShallowRef<ChosenFile | null>
  format: Ref<ImportFormat>
  /** What would be done. */
  check: ShallowRef<Report | null>
  /** What was done. */
  result: ShallowRef<Report | null>
  /** Rows of what is running, so far. */
  rows: Ref<number>
  /** Why the last attempt came to nothing, or was not complete. */
  error: ShallowRef<unknown>
  wasCancelled: Ref<boolean>
  isRunning: ComputedRef<boolean>
  /** Take a file, and look it through. */
  choose: (file: File) => Promise<void>
  /** Look it through again, as another format perhaps. */
  recheck: (format: ImportFormat) => Promise<void>
  apply: () => Promise<void>
  cancel: () => void
}

/** An import of one population. It ends with the page. */
export function useImport(population: Population): Import {
  const invalidate = useInvalidation()
  const stage = ref<Stage>('choose')
  const file = shallowRef<ChosenFile | null>(null)
  const format = ref<ImportFormat>('csv')
  const check = shallowRef<Report | null>(null)
  const result = shallowRef<Report | null>(null)
  const rows = ref(0)
  const error = shallowRef<unknown>(null)
  const wasCancelled = ref(false)
  const isRunning = computed(() => stage.value === 'checking' || stage.value === 'importing')
  let running: AbortController | null = null
  let latest = 0

  async function choose(chosen: File): Promise<void> {
    const mine = (latest += 1)
    running?.abort()
    stage.value = 'choose'
    check.value = result.value = error.value = file.value = null
    wasCancelled.value = false
    try {
      if (chosen.size > LARGEST) throw new Error(TOO_LARGE)
      const content = await read(chosen)
      if (mine !== latest) return
      file.value = { name: chosen.name, content }
    } catch (failure) {
      if (mine === latest) error.value = failure
      return
    }
    await recheck(formatOf(chosen.name))
  }

  async function recheck(wanted: ImportFormat): Promise<void> {
    format.value = wanted
    if (file.value === null) return
    check.value = result.value = null
    const report = await run(false)
    if (report === null) return
    check.value = report
    stage.value = 'checked'
    announce(`The file has been looked through: ${report.rows} rows. Nothing is imported yet.`)
  }

  async function apply(): Promise<void> {
    if (stage.value !== 'checked') return
    const report = await run(true)
    // Also what was not completed has changed something.
    invalidate(['users'], ['user'], ['roles'], ['organizations'], ['audit'])
    if (report?.summary == null) return
    result.value = report
    stage.value = 'imported'
    announce(`The import is done: ${changedUsers(report.summary)} users imported.`)
  }

  /** The report; null when it came to nothing, and `error` or `wasCancelled` says why. */
  async function run(isReal: boolean): Promise<Report | null> {
    running?.abort()
    const controller = (running = new AbortController())
    const { signal } = controller
    stage.value = isReal ? 'importing' : 'checking'
    error.value = null
    wasCancelled.value = false
    rows.value = 0
    let looked = 0
    try {
      const report = await runImport({
        population,
        format: format.value,
        file: file.value!.content,
        apply: isReal,
        signal,
        onRow: (soFar) => {
          if (performance.now() - looked < LOOK) return
          looked = performance.now()
          if (running === controller) rows.value = soFar.rows
        },
      })
      return running === controller ? report : null
    } catch (failure) {
      // Something newer runs, or the page is gone.
      if (running !== controller) return null
      stage.value = isReal ? 'checked' : 'choose'
      if (signal.aborted) wasCancelled.value = true
      else error.value = failure
      return null
    }
  }

  function cancel(): void {
    running?.abort()
  }

  function warn(event: BeforeUnloadEvent): void {
    if (stage.value === 'importing') event.preventDefault()
  }
  onMounted(() => window.addEventListener('beforeunload', warn))
  onBeforeUnmount(() => {
    window.removeEventListener('beforeunload', warn)
    if (stage.value === 'importing') {
      announceFailure(`The import was cancelled. ${STAYS}`)
    }
    running?.abort()
    running = null
  })

  return {
    stage,
    file,
    format,
    check,
    result,
    rows,
    error,
    wasCancelled,
    isRunning,
    choose,
    recheck,
    apply,
    cancel,
  }
}

/** Of an import that was not completed. */
export const STAYS =
  'What was imported until then stays. Import the same file again to go on: who is here already is left as they are.'

const TOO_LARGE =
  'The file is larger than 64 MiB. Split it, or import it on the SLM VM with “slm import”.'

async function read(file: File): Promise<Blob> {
  try {
    return new Blob([await file.arrayBuffer()])
  } catch {
    throw new Error(
      `${file.name} cannot be read. It may have been moved or changed: choose it again.`,
    )
  }
}
