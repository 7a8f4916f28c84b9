// What a page does that has only socket.io-client (4.6 or later, for emitWithAck). It does not share the session among
// tabs and does not renew the token before it expires; the library's own client does both.

import { io } from "socket.io-client";

let code; // the code of a login, until it is traded for a token

export const socket = io({
  autoConnect: false,
  auth: (give) => give({ token: code ?? localStorage.token, confirm: true }), // a function, because the token changes
});

socket.on("authenticated", async (token, stored) => {
  localStorage.token = token;
  stored(); // from now on the old token is dead, and the socket is authenticated
  code = undefined;
  console.log(await socket.emitWithAck("hello"));
});

socket.on("unauthorized", ({ code: reason, terminal, retryAfter = 5 }) => {
  console.log("refused:", reason);
  const isRefused = terminal || code && reason === "proof_required"; // a code for pages with a key only (BindRequired)
  if (!isRefused) return setTimeout(() => socket.connect(), retryAfter * 1000);
  if (code) code = undefined; // the code was refused, not the token
  else delete localStorage.token; // show the login form
});

socket.on("logged_out", () => delete localStorage.token);

export const logout = () => socket.emit("logout");

export async function login(username, password) {
  const response = await fetch("/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username, password }),
  });
  if (!response.ok) throw new Error((await response.json()).code);
  code = (await response.json()).token;
  socket.disconnect().connect(); // a new connection, in case somebody is signed in already
}

if (localStorage.token) socket.connect(); // a user who was here before does not log in again
