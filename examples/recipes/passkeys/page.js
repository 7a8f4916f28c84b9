// What a page does that logs in with passkeys.
import { connect } from "/socketauth/socketauth.js";

export const client = connect();

// The server asks for a new passkey, because of addPasskey.
client.on("passkey:create", async (options, reply) => {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  try {
    reply(await navigator.credentials.create({ publicKey })); // in JSON, by its toJSON
  } catch {
    reply(); // the user does not want to, or has one here: addPasskey rejects with "bad_arguments"
  }
});

export const addPasskey = () => client.emitWithAck("passkey:add");

// sign has the user choose a passkey and sign a challenge of the server with it.
async function sign() {
  const challenge = await (await fetch("/passkey", { method: "POST" })).arrayBuffer();
  const passkey = await navigator.credentials.get({ publicKey: { challenge, userVerification: "required" } });
  return { passkey: JSON.stringify(passkey) };
}

export const login = async () => client.login(await sign());

// What an event wants that is answered with "reauthentication_required".
export const reauthenticate = async () => client.reauthenticate(await sign());
