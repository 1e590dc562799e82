/** What an import tells, line by line (docs/import.md). */

export const OUTCOMES = ['created', 'merged', 'unchanged', 'skipped', 'invalid'] as const

export type Outcome = (typeof OUTCOMES)[number]

/** What became, or would become, of one thing. */
export interface Row {
  resource: string
  /** Where it is in the file. */
  place: string
  name: string
  outcome: Outcome
  reason: string | null
  /** How many it counts for: each line of a range that was lost. */
  rows: number
}

export interface Quota {
  organization: string
  max_users: number
  users: number
}

/** The lines of a file; those that are lost may each be a row. */
export interface LineCount {
  total: number
  header: number
  empty: number
  rows: number
  lost: number
}

export interface Summary {
  applied: boolean
  /** Null: a configuration is not read line by line. */
  lines: LineCount | null
  /** By resource, then by outcome. */
  counts: Record<string, Record<Outcome, number>>
  over_quota: Quota[]
}

/** What a line may be. A problem is the API's, and the import broke off there. */
export type Line = Row | { summary: Summary } | { problem: ProblemBody }

export interface ProblemBody {
  status: number
  code: string
  detail: string
}

/** Rows of an outcome that are shown; the others are in the file. */
export const SHOWN = 200

/** A report as far as it has come. */
export class Report {
  rows = 0
  summary: Summary | null = null
  /** The first rows of each outcome that there is something to say about. */
  readonly notable: Row[] = []
  private readonly kept = new Map<Outcome, number>()
  private readonly counted = new Map<Outcome, number>()
  private readonly written: string[] = []
  private file = new Blob()

  /** Take a row in. */
  add(row: Row, line: string): void {
    this.rows += row.rows
    this.write(line)
    if (row.reason === null) return
    const kept = this.kept.get(row.outcome) ?? 0
    this.kept.set(row.outcome, kept + 1)
    this.counted.set(row.outcome, this.countOf(row.outcome) + row.rows)
    if (kept < SHOWN) this.notable.push(row)
  }

  /** Take the last line in. */
  finish(summary: Summary, line: string): void {
    this.summary = summary
    this.write(line)
  }

  /** Rows of an outcome that there is something to say about, shown or not. */
  countOf(outcome: Outcome): number {
    return this.counted.get(outcome) ?? 0
  }

  /** All lines as a file. */
  asFile(): Blob {
    this.flush()
    return this.file
  }

  private write(line: string): void {
    this.written.push(line, '\n')
    // A Blob may be on the browser's disk, which texts are not.
    if (this.written.length >= 20_000) this.flush()
  }

  private flush(): void {
    this.file = new Blob([this.file, ...this.written], { type: 'application/x-ndjson' })
    this.written.length = 0
  }
}

/** Users that an import adds something to. */
export function changedUsers(summary: Summary): number {
  const users = summary.counts.user
  return users === undefined ? 0 : users.created + users.merged
}
