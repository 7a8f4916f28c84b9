import { StrictMode } from "react";
import { createRoot, hydrateRoot } from "react-dom/client";
import { root } from "./harness.js";
import { Page } from "./Page.jsx";

const { element, isServed } = await root();
const page = <StrictMode><Page /></StrictMode>;
if (isServed) hydrateRoot(element, page);
else createRoot(element).render(page);
