// Errors that a page sees, and a guard for calls that may throw.

/** The messages of codes that are about how the page uses the client. */
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
  constructor(code, retryAfter, details) {
    super(Object.hasOwn(messages, code) ? `socketauth: ${messages[code]}` : code);
    this.name = "SocketAuthError";
    this.code = code;
    this.retryAfter = retryAfter; // seconds, if the server said
    this.details = details; // the server's whole answer, if it gave more than a code
  }
}

/** Throws what a page sees where a module cannot be loaded. */
export function failLoading() {
  throw new SocketAuthError("network");
}

/** Returns what f returns, or undefined where f throws. */
export function attempt(f) {
  try {
    return f();
  } catch {
    return undefined;
  }
}
