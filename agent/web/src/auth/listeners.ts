// Calls functions that others have registered.

/** Call a listener; what it throws is reported, and stops neither the caller nor other listeners. */
export function callListener(listener: () => void): void {
  try {
    listener();
  } catch (error) {
    globalThis.reportError?.(error);
  }
}
