// The client as a bundler makes it of its modules: one file that every page loads, which has all
// that is imported from it, and a file for each module that is loaded on demand or imported by
// itself. (Rollup, Vite and webpack do that. esbuild alone would make several of the first.)
//
//   node client_size.mjs make <folder>     writes the files to the folder, and prints their sizes
//   node client_size.mjs login <page>      opens a page in Chromium, and logs in
//
// Sizes are those of minified files: as they are, and compressed by gzip -9.
import { build } from 'esbuild'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { launch } from './chromium.mjs'
import { print } from './peer.mjs'

const client = fileURLToPath(new URL('../client', import.meta.url))
const entry = 'socketauth.js'

// imports returns what a module imports: pairs of a module and the names.
function imports(module) {
  const text = readFileSync(join(client, module), 'utf8')
  return [...text.matchAll(/^import \{([^}]+)\} from "\.\/([^"]+)";$/gm)].map(([, names, from]) => [from, names.split(',')])
}

// bundle makes one file of modules. Those that are in the entry's file are imported from there.
async function bundle(name, from, inEntry = []) {
  const { metafile, outputFiles: [{ contents }] } = await build({
    ...from,
    bundle: true,
    minify: true,
    format: 'esm',
    metafile: true,
    write: false,
    outfile: name,
    external: ['react', 'vue', 'svelte', 'svelte/*'],
    plugins: [{
      name: 'files',
      setup: ({ onResolve }) => onResolve({ filter: /^\.\// }, ({ path, kind }) => {
        if (kind === 'dynamic-import') return { path, external: true }
        return inEntry.includes(basename(path)) ? { path: './' + entry, external: true } : undefined
      }),
    }],
  })
  const modules = Object.keys(metafile.inputs).map((path) => basename(path))
  return { name, modules, contents, minified: contents.length, gzipped: gzipSync(contents, { level: 9 }).length }
}

async function make(folder) {
  const { modules } = await bundle(entry, { entryPoints: [join(client, entry)] })
  const others = readdirSync(client).filter((name) => name.endsWith('.js') && !modules.includes(name))
  const exports = new Map(modules.map((module) => [module, new Set()]))
  for (const [from, names] of others.flatMap(imports)) {
    for (const name of names) exports.get(from)?.add(name.trim())
  }
  const lines = [...exports].map(([module, names]) => `export { ${[...names]} } from "./${module}";`)
  const contents = [`export * from "./${entry}";`, ...lines].join('\n')
  const files = [await bundle(entry, { stdin: { contents, resolveDir: client } })]
  for (const name of others) files.push(await bundle(name, { entryPoints: [join(client, name)] }, modules))
  for (const { name, contents, minified, gzipped } of files) {
    writeFileSync(join(folder, name), contents)
    print({ socket: 'file', event: name, args: [minified, gzipped] })
  }
}

// login opens the page, logs in, and waits until it is online.
async function login(url) {
  const browser = await launch()
  const page = await browser.newPage()
  await page.goto(url)
  await page.waitForFunction(() => globalThis.client?.state === 'signed-out')
  await page.evaluate(() => client.login({ username: 'alice', password: 'secret' }))
  print({ socket: 'page', event: 'is', args: [await page.evaluate(() => client.state)] })
  await browser.close()
}

const [task, argument] = process.argv.slice(2)
await { make, login }[task](argument)
process.exit()
