// The one client of the page, which all components import.
import { connect } from "socketauth-client";

globalThis.client?.close(); // that of this module before it was edited, in development
export const client = globalThis.client = connect();
