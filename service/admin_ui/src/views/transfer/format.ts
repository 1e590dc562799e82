/** What a file of users can be. */

export type ImportFormat = 'csv' | 'ndjson' | 'config'

export const FORMATS: Record<ImportFormat, { title: string; hint: string; type: string }> = {
  csv: {
    title: 'CSV',
    hint:
      'UTF-8 or UTF-16, with commas, semicolons or tabs. The first line names the columns; ' +
      'only username must be there. ' +
      'Several roles have semicolons between them.',
    type: 'text/csv',
  },
  ndjson: {
    title: 'NDJSON',
    hint: 'One JSON object per line, with the names of the columns; only username must be there.',
    type: 'application/x-ndjson',
  },
  config: {
    title: 'AutoBot configuration',
    hint: 'settings.json or its YAML, with security_config.allowed_users.',
    type: 'application/octet-stream',
  },
}

const BY_EXTENSION = new Map<string, ImportFormat>([
  ['csv', 'csv'],
  ['ndjson', 'ndjson'],
  ['jsonl', 'ndjson'],
  ['json', 'config'],
  ['yaml', 'config'],
  ['yml', 'config'],
])

/** Extensions, for the dialog that chooses a file. */
export const ACCEPTED = [...BY_EXTENSION.keys()].map((extension) => `.${extension}`).join(',')

/** The format that a file's name speaks for; CSV when it says nothing. */
export function formatOf(name: string): ImportFormat {
  return BY_EXTENSION.get(name.split('.').at(-1)!.toLowerCase()) ?? 'csv'
}
