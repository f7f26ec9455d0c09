// Lets one refresh run at a time, in this tab and in all others.

export type WebLocks = Pick<LockManager, 'request'>;

/** Return the browser's Web Locks, or null where it has none. */
export function webLocks(): WebLocks | null {
  return globalThis.navigator?.locks ?? null;
}

/** A lock that all tabs of an origin share by its name; one that never comes is done without. */
export class CrossTabLock {
  readonly #name: string;
  readonly #locks: WebLocks | null;
  /** The last task of this tab; tasks within a tab need no Web Locks to follow each other. */
  #lastInTab: Promise<unknown> = Promise.resolve();

  constructor(name: string, locks: WebLocks | null) {
    this.#name = name;
    this.#locks = locks;
  }

  /**
   * Run `task` once the tasks of this tab and of the others are done.
   *
   * @param waitedEnough - Settles when the other tabs have been waited for long enough: one that
   *     the browser has frozen may hold the lock for good.
   */
  run<T>(task: () => Promise<T>, waitedEnough: () => Promise<void>): Promise<T> {
    const result = this.#lastInTab.then(() => this.#runAmongTabs(task, waitedEnough));
    this.#lastInTab = result.catch(() => undefined);
    return result;
  }

  async #runAmongTabs<T>(task: () => Promise<T>, waitedEnough: () => Promise<void>): Promise<T> {
    const locks = this.#locks;
    if (!locks) return task();
    let started: Promise<T> | undefined;
    const runOnce = (): Promise<T> => {
      started ??= task();
      return started;
    };
    const request = new AbortController();
    const withLock = async (): Promise<T> =>
      locks.request(this.#name, { signal: request.signal }, runOnce);
    const withoutLock = waitedEnough().then(() => {
      const result = runOnce();
      request.abort(); // does nothing to a lock that is held
      return result;
    });
    // A browser that blocks cookies, or a sandboxed frame, has locks that refuse or do nothing.
    return Promise.race([withLock().then(runOnce, runOnce), withoutLock]);
  }
}
