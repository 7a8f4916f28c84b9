import { svelte } from "@sveltejs/vite-plugin-svelte";
import react from "@vitejs/plugin-react";
import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vite";

const server = process.env.SERVER; // the Go server, such as http://localhost:8080

// Each is an object: for a string, Vite would replace the header Host, and the server would refuse
// the page as one of another origin.
const proxy = {
  "/login": { target: server },
  "/socket.io/": { target: server, ws: true },
};

export default defineConfig({ plugins: [react(), vue(), svelte()], server: { proxy } });
