import { useEffect, useState } from "react";
import { useEvent, useSocketAuth } from "socketauth-client/react";
import { Chat } from "./Chat.jsx";
import { first, heard } from "./harness.js";
import { client } from "./session.js";

function Probe({ client, n }) {
  const { state, user } = useSocketAuth(client);
  useEvent(client, "news", () => { throw new Error("thrown by a handler"); });
  useEvent(client, "news", (text) => heard.push(`${n}: ${text}`));
  return <><output>{n} {user ?? "nobody"} {state}</output><img alt="" src={`data:,${user}`} /></>;
}

export function Page() {
  const [all, set] = useState(() => first(client));
  useEffect(() => {
    globalThis.set = (more) => set((all) => ({ ...all, ...more }));
  }, []);
  return <><Chat /><Chat />{all.shown && <Probe client={all.client} n={all.n} />}</>;
}
