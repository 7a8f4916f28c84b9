// What a token says. Nothing is verified here: that is the server's task.

import { attempt } from "./errors.js";

/** Returns a token's claims, or an empty object for what is no token. */
export function claims(token) {
  return attempt(() => {
    const base64 = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  }) ?? {};
}

/** Reports whether a token is the code of a login. */
export function isCode(token) {
  return claims(token).token_use === "code";
}

/** Reports whether a token is a session token. */
export function isSessionToken(token) {
  return claims(token).token_use === "session";
}

/** Reports whether a token is bound to a key, so that it is good only with a proof of that key. */
export function isBound(token) {
  return claims(token).cnf?.jkt !== undefined;
}

/** Reports whether two tokens are of one session. */
export function sameSession(a, b) {
  const { sid } = claims(a);
  return sid !== undefined && sid === claims(b).sid;
}

/**
 * Reports whether a is newer than b: of one session by the generation, of two sessions by when they
 * began. Both times are by the server's clock.
 */
export function isNewer(a, b) {
  const [x, y] = [claims(a), claims(b)];
  const began = ({ began, auth_time }) => began ?? auth_time; // a step-up raises auth_time
  return sameSession(a, b) ? x.gen > y.gen : began(x) >= began(y);
}
