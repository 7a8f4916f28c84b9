// The other half of minimal, as a module of your page: <script type="module" src="/browser.js"></script>

import { connect } from "/socketauth.js"; // the library serves it: see ClientPath

export const client = connect();

client.on("state", async (state, reason) => {
  console.log(state, reason ?? ""); // "signed-out" and "expired" are the time for the login form
  if (state === "online") console.log(await client.emitWithAck("hello"));
});

export const login = (username, password) => client.login({ username, password }); // throws; its code says why
export const logout = () => client.logout();
