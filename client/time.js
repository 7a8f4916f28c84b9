// Clocks, waiting, and how long to wait before the next try.

/** The longest wait that a server can ask for, in seconds. Timers hold no more than some weeks. */
const MAX_RETRY_AFTER = 86_400;

/** Returns the time by both clocks, for elapsed. */
export function readClocks() {
  return { wall: Date.now(), run: performance.now() };
}

/**
 * Returns the ms since a reading of the clocks: the larger of the two. The wall clock goes on while
 * a machine sleeps, and the other one cannot be set back.
 */
export function elapsed({ wall, run }) {
  return Math.max(Date.now() - wall, performance.now() - run);
}

/**
 * Does what Promise's constructor does. The promise rejects when the signal, if any, aborts.
 *
 * @template T
 * @param {AbortSignal | undefined} signal
 * @param {(resolve: (value: T) => void, reject: (reason: unknown) => void) => void} start
 * @returns {Promise<T>}
 */
export function unlessAborted(signal, start) {
  let stop;
  const promise = new Promise((resolve, reject) => {
    if (signal?.aborted) throw signal.reason;
    stop = () => reject(signal.reason);
    signal?.addEventListener("abort", stop);
    start(resolve, reject);
  });
  return promise.finally(() => signal?.removeEventListener("abort", stop));
}

/** Returns how long a refusal says to wait, in ms. */
export function retryAfter(refusal) {
  return 1000 * Math.min(Number(refusal?.retryAfter) || 0, MAX_RETRY_AFTER);
}

/** Says how long to wait before the next try, longer after each failure. */
export class Backoff {
  failures = 0; // in a row

  #minDelay;
  #maxDelay;
  #timer; // of the next try; or undefined
  #notBefore = 0; // by performance.now(): when the server lets it come back

  constructor({ minDelay, maxDelay }) {
    this.#minDelay = minDelay;
    this.#maxDelay = maxDelay;
  }

  /**
   * Returns how long to wait after a refusal, in ms: at least as long as the server says, with an
   * addition at random so that clients do not come back all at once.
   */
  afterRefusal(refusal) {
    const jitter = this.#limit(this.failures) / 2 * Math.random();
    return Math.max(retryAfter(refusal) + jitter, this.delay(this.failures));
  }

  /** Calls f when it is time for the next try after a failure. */
  retry(refusal, f) {
    this.cancel();
    const delay = this.afterRefusal(refusal);
    this.failures++;
    this.#notBefore = performance.now() + retryAfter(refusal);
    this.#timer = setTimeout(f, delay);
  }

  /** Reports whether a try is due later, which the server allows at once. */
  get isAllowed() {
    return this.#timer !== undefined && performance.now() >= this.#notBefore;
  }

  /** Stops the timer of the next try. */
  cancel() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Forgets all failures. */
  reset() {
    this.failures = 0;
    this.#notBefore = 0;
  }

  /** Returns how long to wait after a number of failures, in ms. */
  delay(failures) {
    return this.#limit(failures) * (1 + Math.random()) / 2;
  }

  #limit(failures) {
    return Math.min(this.#maxDelay, this.#minDelay * 2 ** failures);
  }
}
