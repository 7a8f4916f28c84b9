// What a page does that logs in with passkeys.
import { connect } from "/socketauth/socketauth.js";

export const client = connect();

// The server asks for a new passkey, because of addPasskey.
client.on("passkey:create", async (options, reply) => {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  const passkey = await navigator.credentials.create({ publicKey }).catch((error) => ({ error: error.name }));
  reply(passkey); // its toJSON
});

export const addPasskey = () => client.emitWithAck("passkey:add");

export async function login() {
  const challenge = await (await fetch("/passkey", { method: "POST" })).arrayBuffer();
  const passkey = await navigator.credentials.get({ publicKey: { challenge, userVerification: "required" } });
  await client.login({ passkey: JSON.stringify(passkey) });
}
