// Logging in: posting credentials, and waiting until the server has let the new session in.

import { attempt, SocketAuthError } from "./errors.js";
import { codeIn, isThisPage } from "./page.js";
import { isCode, sameSession } from "./token.js";
import { retryAfter } from "./time.js";

const ANSWER_TIMEOUT = 60_000; // ms for the answer to credentials; the server may ask others
const ADMISSION_TIMEOUT = 20_000; // ms from the code of a login until the server lets it in

/** Refusals that a login waits out, unless the server says to come back too late for it. */
const temporary = ["unavailable", "too_many_attempts", "too_many_connections", "timeout",
  "no_longer_valid"];

/**
 * An event that no server handles. The server answers it after it has decided about what was sent
 * before it.
 */
const PROBE = "socketauth:probe";

/**
 * Posts credentials and returns the answer. Rejects with a code that says why there is none. The
 * function request is used instead of fetch where it is given.
 */
export async function postCredentials(url, credentials, request = fetch) {
  let response, text;
  try {
    response = await request(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(credentials),
      signal: AbortSignal.timeout?.(ANSWER_TIMEOUT), // React Native does not have it
    });
    text = await response.text();
  } catch (error) {
    if (error instanceof SocketAuthError) throw error;
    throw new SocketAuthError(response && !response.ok ? `http_${response.status}` : "network");
  }
  const answer = attempt(() => JSON.parse(text));
  if (response.ok) {
    if (answer !== undefined || response.status === 204) return answer;
    throw new SocketAuthError("bad_answer"); // a page, for example
  }
  const wait = Number(response.headers.get("Retry-After")) || undefined;
  throw new SocketAuthError(answer?.code ?? `http_${response.status}`, wait, answer);
}

/**
 * Returns what the answer to credentials says to do: trade a code, or go to a page. Throws if it
 * says neither. If the page to go to is this one, its code is returned: going there would only
 * change the fragment.
 */
export function readAnswer(answer, { url, fragment }) {
  if (isCode(answer?.token)) return { code: answer.token };
  const here = globalThis.location;
  const page = attempt(() => answer.url && new URL(answer.url, url)); // of the server's AppURL
  const code = page && codeIn(page, fragment);
  if (code && (!here || isThisPage(page))) return { code };
  // Other protocols are refused: "javascript:" would run a script.
  if (!here || !/^https?:$/.test(page?.protocol)) throw new SocketAuthError("bad_answer");
  return { page };
}

/**
 * A login that the server has not let in yet. It settles once: it succeeds when the server has let
 * its session in, and fails with a code that says why not.
 */
export class PendingLogin {
  promise;

  #isPending = true;
  #code;
  #resolve;
  #reject;
  #timer;
  #deadline = performance.now() + ADMISSION_TIMEOUT;
  #delay = "network"; // the code with which it fails if nothing more comes

  constructor(code) {
    this.#code = code;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#timer = setTimeout(() => this.fail(this.#delay), ADMISSION_TIMEOUT);
  }

  /** Reports whether a token is of the session that the login's code begins. */
  isOf(token) {
    return sameSession(this.#code, token);
  }

  succeed() {
    this.#end();
    this.#resolve();
  }

  fail(code, retryAfter) {
    this.#end();
    this.#reject(new SocketAuthError(code, retryAfter));
  }

  /** Fails because of a refusal, unless the server can be expected to let it in before long. */
  refused(refusal) {
    const isInTime = performance.now() + retryAfter(refusal) < this.#deadline;
    const isTemporary = !refusal.terminal && temporary.includes(refusal.code);
    if (isTemporary && isInTime) this.#delay = refusal.code;
    else this.fail(refusal.code, refusal.retryAfter);
  }

  /**
   * Waits for what the server decides after a token was acknowledged on a socket: OnAuthenticated
   * may refuse it. What comes when isCurrent() is false does not count.
   */
  awaitDecision(socket, token, isCurrent) {
    if (!this.#isPending) return;
    if (!this.isOf(token)) return this.fail("replaced");
    this.#delay = "no_reply";
    socket.emit(PROBE, (reply) => {
      if (isCurrent() && reply?.error?.code !== "unauthorized") this.succeed();
    });
  }

  #end() {
    this.#isPending = false;
    clearTimeout(this.#timer);
  }
}
