import { createApp, createSSRApp } from "vue";
import { root } from "./harness.js";
import Page from "./Page.vue";

const { element, isServed } = await root();
(isServed ? createSSRApp : createApp)(Page).mount(element);
