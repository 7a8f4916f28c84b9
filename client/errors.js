// @ts-check
// Errors that a page sees, and a guard for calls that may throw.

/** @import { ErrorCode } from './types.js' */

/**
 * The messages of codes that are about how the page uses the client.
 *
 * @type {Record<string, string>}
 */
const messages = {
  no_url: "there is no page here: call connect with a url",
  no_websocket: "there is no WebSocket here: call connect with one, or with io",
  bad_answer: "the answer is none of socketauth's: is the path right?",
};

/**
 * Says why something was not done. Its code is the server's or one of the client's own; the message
 * is the code where there is no text for it.
 */
export class SocketAuthError extends Error {
  /**
   * @param {ErrorCode} code What is no string, as a reply may have it, is a bad answer.
   * @param {number} [retryAfter]
   * @param {{ [name: string]: any }} [details]
   */
  constructor(code, retryAfter, details) {
    if (typeof code !== "string") code = "bad_answer";
    super(Object.hasOwn(messages, code) ? `socketauth: ${messages[code]}` : code);
    this.name = "SocketAuthError";
    this.code = code;
    /** Seconds to wait, if the server said. */
    this.retryAfter = retryAfter;
    /**
     * The server's answer, with what it says besides the code: maxAge and acr where the code is
     * "reauthentication_required". Of "signed_out" from ready, the reason.
     */
    this.details = details;
  }
}

/**
 * Throws what a page sees where a module cannot be loaded.
 *
 * @returns {never}
 */
export function failLoading() {
  throw new SocketAuthError("network");
}

/**
 * Returns what f returns, or undefined where f throws.
 *
 * @template T
 * @param {() => T} f
 * @returns {T | undefined}
 */
export function attempt(f) {
  try {
    return f();
  } catch {
    return undefined;
  }
}
