// How the page is built, served while it is worked on, and tested.
import { readFileSync } from "node:fs";
import { defineConfig } from "vitest/config";

const version = /^version = "([^"]+)"/m.exec(readFileSync(new URL("../pyproject.toml", import.meta.url), "utf8"))?.[1];
if (version === undefined) throw new Error("pyproject.toml names no version");

const font = new URL("./node_modules/@fontsource-variable/inter/LICENSE", import.meta.url);

export default defineConfig({
  plugins: [
    {
      name: "licence-of-the-typeface",
      generateBundle() {
        this.emitFile({ type: "asset", fileName: "licence-inter.txt", source: readFileSync(font) });
      },
    },
  ],
  define: { __VERSION__: JSON.stringify(version) },
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0, // the policy of the page allows no data: addresses
    license: { fileName: "licences.txt" }, // of what is bundled
  },
  test: {
    environment: "happy-dom",
    include: ["test/**/*.test.{ts,tsx}"],
    restoreMocks: true,
    testTimeout: 60_000, // for what hangs; a busy machine is slow
  },
});
