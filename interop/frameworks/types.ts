// What TypeScript says of the client's declarations for frameworks: see TestFrameworkTypes. Nothing
// here runs.
import { connect, type Claims, type Reason, type State } from "socketauth-client";
import * as react from "socketauth-client/react";
import * as svelte from "socketauth-client/svelte";
import * as vue from "socketauth-client/vue";
import { get } from "svelte/store";
import { ref, shallowRef, type ComputedRef } from "vue";

interface ServerEvents {
  news: (text: string, at: Date) => void;
}
declare global { var client: { close(): void } | undefined } // as in docs/clients.md
globalThis.client?.close();
const client = globalThis.client = connect<ServerEvents>();
const untyped = connect();

export const seen: { state: State; reason?: Reason; user: string | null; claims: Claims | null } = react.useSocketAuth(client);
react.useSocketAuth(untyped).user?.toUpperCase();
react.useEvent(client, "news", (text, at) => { text.toUpperCase(); at.getTime(); });
react.useEvent(client, "state", (state, reason) => state === "online" && reason?.toUpperCase());
react.useEvent(untyped, "any", (...args) => args.length);
// @ts-expect-error: no such event
react.useEvent(client, "olds", () => {});
// @ts-expect-error: text is a string
react.useEvent(client, "news", (text: number) => text);
// @ts-expect-error: state has no such value
react.useSocketAuth(client).state === "on-line";

const session = vue.useSocketAuth(client);
export const state: ComputedRef<State> = session.state;
vue.useSocketAuth(() => untyped).user.value?.toUpperCase();
vue.useSocketAuth(shallowRef(client)).claims.value?.sub;
vue.useEvent(client, "news", (text) => text.toUpperCase());
vue.useEvent(() => client, ref<"news">("news"), (text) => text.toUpperCase());
vue.useEvent(shallowRef(client), "notice", (notice) => notice === "renewed");
vue.useEvent(untyped, "any", (...args) => args.length);
// @ts-expect-error: no such event
vue.useEvent(client, "olds", () => {});
// @ts-expect-error: a ref
session.user?.toUpperCase();

const store = svelte.useSocketAuth(client);
get(store).user?.toUpperCase();
store.subscribe(({ state }) => state === "online");
svelte.useEvent(client, "news", (text) => text.toUpperCase());
svelte.useEvent(untyped, "any", (...args) => args.length);
// @ts-expect-error: no such event
svelte.useEvent(client, "olds", () => {});
// @ts-expect-error: nobody writes it
store.set({});
