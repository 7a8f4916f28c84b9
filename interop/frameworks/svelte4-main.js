import Legacy from "./Legacy.svelte";

new Legacy({ target: document.getElementById("app") });
