/** Keys that make a request repeatable. */

/** The key of a body: the same for the same body, so that sending it again creates nothing new. */
export function useIdempotencyKey(): (body: unknown) => string {
  let last: { text: string; key: string } | null = null
  return (body) => {
    const text = JSON.stringify(body)
    if (last?.text !== text) last = { text, key: crypto.randomUUID() }
    return last.key
  }
}
