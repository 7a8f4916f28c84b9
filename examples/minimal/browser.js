import { connect } from "/socketauth/socketauth.js"; // the library serves it: see ClientPath

const client = connect();
const form = document.querySelector("form");
const output = document.querySelector("output");

client.on("state", async (state, reason) => {
  form.hidden = state !== "signed-out" && state !== "expired";
  output.value = state + (reason ? `: ${reason}` : "");
  if (state === "online") output.value = await client.emitWithAck("hello").catch((error) => error.code);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  client.login(Object.fromEntries(new FormData(form))).catch((error) => { output.value = error.code; });
});
document.getElementById("logout").addEventListener("click", () => client.logout());
