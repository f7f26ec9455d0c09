// Calls what others have registered.

/** Calls a listener, if there is one; what it throws is its own trouble, and nobody else's. */
export function hear<T extends unknown[]>(
  listener: ((...args: T) => void) | undefined,
  ...args: T
): void {
  try {
    listener?.(...args);
  } catch (error) {
    globalThis.reportError?.(error);
  }
}
