// Calls what others have registered.

/** Calls a listener; what it throws is its own trouble, and nobody else's. */
export function hear(call: () => void): void {
  try {
    call();
  } catch (error) {
    globalThis.reportError?.(error);
  }
}
