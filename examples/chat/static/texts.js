// The texts for the states of the client and for the codes of the client and the server.

export const states = {
  "signed-out": "Signed out",
  connecting: "Connecting…",
  online: "Online",
  offline: "Offline, trying again…",
  expired: "Signed out",
};

const texts = {
  // Login and registration.
  USER_INVALID: "Wrong name or password.",
  USER_EXISTS: "That name is taken. Is it yours? Then log in.",
  NAME_INVALID: "A name is 2 to 24 letters, digits or signs, without spaces.",
  NAME_TOO_LONG: "That name is too long: 24 characters are the limit.",
  PASSWORD_TOO_SHORT: "The password needs 8 characters or more.",
  PASSWORD_TOO_LONG: "The password is too long: 72 bytes are the limit.",
  TOO_MANY_ATTEMPTS: "Too many attempts. Wait a while, then try again.",
  UNAVAILABLE: "The server is busy. Try again in a moment.",
  network: "The server cannot be reached. Is it running?",
  bad_answer: "The answer is not from a server of this page.",

  // Messages and devices.
  MESSAGE_EMPTY: "There is nothing to send.",
  MESSAGE_TOO_LONG: "That is too long: 1000 characters are the limit.",
  NOT_YOURS: "That is not one of your devices, or it is logged out already.",
  not_confirmed: "Nothing was changed.",
  offline: "Not sent: you are offline. Try again when you are back.",
  disconnected: "This may not have been sent: the connection was lost.",
  no_reply: "This may not have been sent: the server has not answered.",

  // The end of a session.
  logged_out: "You are logged out.",
  logged_out_here: "You are logged out here, but the server could not be told.",
  elsewhere: "You are logged out: this browser has no session any more.",
  session_revoked: "This device was logged out from another one.",
  token_expired: "You were away for too long. Please log in again.",
  no_longer_valid: "Your session is over. Please log in again.",
  invalid_token: "The server does not know this session. Please log in again.",
  token_reused: "Your session is over: one of its tokens was used twice, so someone may have copied it. Please log in again.",
  key_lost: "This browser has lost the key of your session. Please log in again.",
  key_unavailable: "This browser cannot read the key of your session just now.",
  invalid_proof: "This session is bound to another device. Please log in again.",
  storage_full: "This browser could not store the session, which goes on in another tab.",
};

// The names of the fields that a code is about.
const fields = {
  USER_INVALID: ["username", "password"],
  USER_EXISTS: ["username"],
  NAME_INVALID: ["username"],
  NAME_TOO_LONG: ["username"],
  PASSWORD_TOO_SHORT: ["password"],
  PASSWORD_TOO_LONG: ["password"],
  MESSAGE_EMPTY: ["message"],
  MESSAGE_TOO_LONG: ["message"],
};

export const about = (code) => fields[code] ?? [];

export const text = (code) => texts[code] ?? `Something went wrong (${code}). Please try again.`;

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/** Returns roughly how long ago a time was. */
export function ago(time) {
  const minutes = Math.round((Date.now() - new Date(time)) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return relative.format(-minutes, "minute");
  if (minutes < 24 * 60) return relative.format(-Math.round(minutes / 60), "hour");
  return relative.format(-Math.round(minutes / 60 / 24), "day");
}

/** Returns a time as text, with the date unless it is today. */
export function moment(time) {
  const at = new Date(time);
  const today = at.toDateString() === new Date().toDateString();
  return at.toLocaleString([], today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}
