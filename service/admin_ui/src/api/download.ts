/** Files of the API, saved by the browser. */

import { sessionFetch } from './client'
import { ApiProblem, Offline } from './problem'

export type ExportFormat = 'csv' | 'ndjson'

/**
 * Save what a GET of `path` answers as `name`. Throws ApiProblem and Offline.
 *
 * Not a link: the browser would save a problem as if it were the file, an expired session would not
 * be gone on with, and a file that breaks off halfway would look whole. The browser keeps large
 * ones on its disk, not in memory.
 */
export async function download(path: string, name: string, signal: AbortSignal): Promise<void> {
  const response = await sessionFetch(path, { signal })
  if (!response.ok) {
    throw ApiProblem.of(response, await response.json().catch(() => null))
  }
  save(await whole(response), name)
}

async function whole(response: Response): Promise<Blob> {
  try {
    return await response.blob()
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new Offline()
  }
}

function save(content: Blob, name: string): void {
  const url = URL.createObjectURL(content)
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  // The browser has begun by then.
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
