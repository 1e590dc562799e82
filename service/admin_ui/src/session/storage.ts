/** Whether this browser keeps what a session needs. */

/** False where cookies and site data of this page are blocked: touching them throws then. */
export function keepsSiteData(): boolean {
  try {
    return navigator.cookieEnabled && localStorage !== null
  } catch {
    return false
  }
}
