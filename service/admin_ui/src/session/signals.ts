/** What tabs tell each other about the session that they share. */

export type Signal = 'began' | 'ended'

const channel = new BroadcastChannel('slm-session')

/** Tell the other tabs. */
export function tell(signal: Signal): void {
  channel.postMessage(signal)
}

/** Call when another tab tells something. */
export function onSignal(heard: (signal: Signal) => void): void {
  channel.addEventListener('message', (event: MessageEvent<Signal>) => heard(event.data))
}
