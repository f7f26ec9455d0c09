// Tells when a page may have slept: in the background, in the back/forward cache, off the network.

/** Calls back whenever the page may have missed something; returns how to stop it. */
export function onWake(listener: () => void): () => void {
  const { document } = globalThis;
  for (const event of ['pageshow', 'focus', 'online']) {
    globalThis.addEventListener?.(event, listener);
  }
  document?.addEventListener('visibilitychange', listener);
  return () => {
    for (const event of ['pageshow', 'focus', 'online']) {
      globalThis.removeEventListener?.(event, listener);
    }
    document?.removeEventListener('visibilitychange', listener);
  };
}
