// The texts for the states of the client and for the codes of the client and the server.

export const states = {
  "signed-out": "Signed out",
  connecting: "Connecting…",
  online: "Online",
  offline: "Offline",
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
  offline: "You are offline. Try again when you are back.",
  disconnected: "The connection was lost.",
  no_reply: "The server has not answered.",

  // The end of a session.
  logged_out: "You are logged out.",
  logged_out_here: "You are logged out here, but the server could not be told. It will be told as soon as it can be reached.",
  elsewhere: "You are logged out: this browser has no session any more.",
  session_revoked: "This device was logged out from another one.",
  token_expired: "You were away for too long. Please log in again.",
  no_longer_valid: "Your session is over. Please log in again.",
  invalid_token: "The server does not know this session. Please log in again.",
  token_reused: "Your session is over: one of its tokens was used twice, so someone may have copied it. Please log in again.",
  key_lost: "This browser has lost the key of your session. Please log in again.",
  key_unavailable: "This browser cannot read the key of your session just now.",
  unavailable: "The server is busy.",
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
export function moment(time, { seconds = false } = {}) {
  const at = new Date(time);
  const timeStyle = seconds ? "medium" : "short";
  return at.toLocaleString([], isToday(at) ? { timeStyle } : { dateStyle: "medium", timeStyle });
}

/** Returns the time of day. */
export function clock(time) {
  return new Date(time).toLocaleTimeString([], { timeStyle: "short" });
}

/** Returns the day of a time: "Today", "Yesterday", or its date, with the year unless it is this one. */
export function day(time) {
  const at = new Date(time);
  const now = new Date();
  if (isToday(at)) return "Today";
  if (at.toDateString() === new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1).toDateString()) return "Yesterday";
  const year = at.getFullYear() === now.getFullYear() ? {} : { year: "numeric" };
  return at.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", ...year });
}

function isToday(at) {
  return at.toDateString() === new Date().toDateString();
}

/** Returns why there is no connection. */
export function lost(reason) {
  if (navigator.onLine === false) return "This device has no network.";
  switch (reason) {
    case "io server disconnect": return "The server ended the connection.";
    case "transport close": return "The connection is lost.";
    case "ping timeout":
    case "timeout": return "The server does not answer.";
    case "overtaken": return "Another tab was faster.";
    case "key_unavailable":
    case "unavailable": return text(reason);
    default: return `The connection is lost: ${reason}.`;
  }
}
