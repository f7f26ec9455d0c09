// Tells when a page may have slept: in the background, in the back/forward cache, off the network.

/** Call back whenever the page may have missed something; return how to stop it. */
export function onWake(listener: () => void): () => void {
  const stop = new AbortController();
  const { signal } = stop;
  for (const event of ['pageshow', 'focus', 'online']) {
    globalThis.addEventListener?.(event, listener, { signal });
  }
  globalThis.document?.addEventListener('visibilitychange', listener, { signal });
  return () => stop.abort();
}
