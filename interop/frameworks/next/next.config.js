import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

export default {
  allowedDevOrigins: ["127.0.0.1"],
  devIndicators: false,
  // The packages are in a folder above this one.
  turbopack: { root: dirname(dirname(dirname(fileURLToPath(import.meta.url)))) },
};
