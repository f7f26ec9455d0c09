// Lets one refresh run at a time, in this tab and in all others, without ever standing still.

export type Locks = Pick<LockManager, 'request'>;

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Web Locks, or null where the browser has none. */
export function webLocks(): Locks | null {
  return globalThis.navigator?.locks ?? null;
}

export class Turns {
  readonly #name: string;
  readonly #locks: Locks | null;
  /** The turn within this tab, which needs no Web Locks. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(name: string, locks: Locks | null) {
    this.#name = name;
    this.#locks = locks;
  }

  /**
   * Runs `work` once this tab and the others are done with theirs.
   *
   * @param patience - Settles when the other tabs have been waited for long enough: one that the
   *     browser has frozen may hold the lock for good.
   */
  take<T>(work: () => Promise<T>, patience: () => Promise<void>): Promise<T> {
    const turn = this.#queue.then(() => this.#amongTabs(work, patience));
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  async #amongTabs<T>(work: () => Promise<T>, patience: () => Promise<void>): Promise<T> {
    const locks = this.#locks;
    if (!locks) return work();
    let running: Promise<T> | undefined;
    const once = (): Promise<T> => (running ??= work());
    const withdrawn = new AbortController();
    const locked = async (): Promise<T> =>
      locks.request(this.#name, { signal: withdrawn.signal }, once);
    const tired = patience().then(() => {
      const outcome = once();
      withdrawn.abort(); // does nothing to a lock that is held
      return outcome;
    });
    // A browser that blocks cookies, or a sandboxed frame, has locks that refuse or do nothing.
    return Promise.race([locked().then(once, once), tired]);
  }
}
