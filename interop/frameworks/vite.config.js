import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const server = process.env.SERVER ?? "http://localhost:8080"; // the Go server

// Each is an object: for a string, Vite would replace the header Host, and the server would refuse
// the page as one of another origin.
const proxy = {
  "/login": { target: server },
  "/register": { target: server },
  "/socket.io/": { target: server, ws: true },
};

export default defineConfig({ plugins: [react()], server: { proxy } });
