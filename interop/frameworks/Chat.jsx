import { useState } from "react";
import { useEvent, useSocketAuth } from "socketauth-client/react";
import { client } from "./session.js";

export function Chat() {
  const { state, user } = useSocketAuth(client);
  const [lines, setLines] = useState([]);
  useEvent(client, "news", (text) => setLines((lines) => [...lines, text]));

  if (state === "connecting" && !user) return <p>One moment</p>;
  if (!user) return <p>Please log in</p>;
  return (
    <section>
      <p>{user} is {state}</p>
      <ul>{lines.map((line, n) => <li key={n}>{line}</li>)}</ul>
      <button onClick={() => client.logout()}>Log out</button>
    </section>
  );
}
