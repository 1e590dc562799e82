/** An import's request: a file goes there, its report comes back line by line. */

import { sessionFetch } from '@/api/client'
import type { Population } from '@/api/generated'
import { ApiProblem, type ProblemCode } from '@/api/problem'
import { FORMATS, type ImportFormat } from './format'
import { lines } from './lines'
import { Report, type Line, type ProblemBody } from './report'

/** The answer ended before its last line. */
export class BrokenOff extends Error {
  override readonly name = 'BrokenOff'

  constructor() {
    super('The connection was lost before the report was complete.')
  }
}

export interface ImportJob {
  population: Population
  format: ImportFormat
  file: Blob
  /** False: only tell what would be done. */
  apply: boolean
  signal: AbortSignal
  /** Called whenever the report has grown, also by what is in it when it breaks off. */
  onRow: (report: Report) => void
}

/** Import. Throws ApiProblem, Offline and BrokenOff; once the signal is aborted, anything. */
export async function runImport(job: ImportJob): Promise<Report> {
  const { population, format, file, apply, signal, onRow } = job
  const response = await sessionFetch(
    `/api/${population}-users/import?format=${format}&apply=${apply}`,
    { method: 'POST', body: file, headers: { 'Content-Type': FORMATS[format].type }, signal },
  )
  if (!response.ok || response.body === null) {
    throw ApiProblem.of(response, await response.json().catch(() => null))
  }
  const report = new Report()
  try {
    for await (const text of lines(response.body)) {
      const line = JSON.parse(text) as Line
      if ('problem' in line) throw problemOf(line.problem)
      if ('summary' in line) {
        report.finish(line.summary, text)
        return report
      }
      report.add(line, text)
      onRow(report)
    }
  } catch (error) {
    // The network's errors have many names.
    throw error instanceof ApiProblem ? error : new BrokenOff()
  }
  throw new BrokenOff()
}

function problemOf({ status, code, detail }: ProblemBody): ApiProblem {
  return new ApiProblem(status, code as ProblemCode, detail)
}
