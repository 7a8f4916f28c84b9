import { Chat } from "./components.jsx";
import { client } from "./session.js";

export const dynamic = "force-dynamic"; // rendered anew for each request

export default function Page() {
  return <main><Chat /><Chat /><output>{client.state}</output></main>;
}
