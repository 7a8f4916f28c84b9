import { svelte } from "@sveltejs/vite-plugin-svelte";
import react from "@vitejs/plugin-react";
import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vite";

const server = process.env.SERVER; // where the Go server is

export default defineConfig({
  plugins: [react(), vue(), svelte()],
  server: {
    proxy: {
      "/login": { target: server }, // an object: a string would have Vite replace the header Host
      "/socket.io/": { target: server, ws: true },
    },
  },
});
