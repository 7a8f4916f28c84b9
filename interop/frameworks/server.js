// The pages as a server renders them.
import { createElement, StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { render } from "svelte/server";
import { createSSRApp } from "vue";
import { renderToString as renderVue } from "vue/server-renderer";
import { Page as ReactPage } from "./Page.jsx";
import SveltePage from "./Page.svelte";
import VuePage from "./Page.vue";

export { held } from "./harness.js";
export { client } from "./session.js";

export const pages = {
  react: () => renderToString(createElement(StrictMode, null, createElement(ReactPage))),
  vue: () => renderVue(createSSRApp(VuePage)),
  svelte: () => render(SveltePage).body,
};
