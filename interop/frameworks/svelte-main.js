import { hydrate, mount } from "svelte";
import { root } from "./harness.js";
import Page from "./Page.svelte";

const { element, isServed } = await root();
(isServed ? hydrate : mount)(Page, { target: element });
