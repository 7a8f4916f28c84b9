// The client as Rollup makes it of its modules: one file that every page loads, which exports what
// the others need of it, and a file for each module that is loaded on demand or imported by itself.
//
//   node client_size.mjs make <folder>     writes the files to the folder, and prints their sizes
//   node client_size.mjs login <page>      opens a page in Chromium, and logs in
//
// Sizes are those of files that are minified, as they are and compressed by gzip -9; and how much of
// the first one is of which module.
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
async function bundle(name, from, { inEntry = [], loads = 'on demand' } = {}) {
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
        if (kind === 'dynamic-import' && loads === 'on demand') return { path, external: true }
        return inEntry.includes(basename(path)) ? { path: './' + entry, external: true } : undefined
      }),
    }],
  })
  const [{ inputs }] = Object.values(metafile.outputs)
  const modules = Object.entries(inputs).map(([path, { bytesInOutput }]) => [basename(path), bytesInOutput])
  return { name, modules, contents, sizes: [contents.length, gzipSync(contents, { level: 9 }).length] }
}

async function make(folder) {
  const first = await bundle(entry, { entryPoints: [join(client, entry)] })
  const modules = first.modules.map(([name]) => name)
  const others = readdirSync(client).filter((name) => name.endsWith('.js') && !modules.includes(name))
  const exports = new Map(modules.map((module) => [module, new Set()]))
  for (const [from, names] of others.flatMap(imports)) {
    for (const name of names) exports.get(from)?.add(name.trim())
  }
  const lines = [...exports].map(([module, names]) => `export { ${[...names]} } from "./${module}";`)
  const contents = [`export * from "./${entry}";`, ...lines].join('\n')
  const files = [await bundle(entry, { stdin: { contents, resolveDir: client } })]
  for (const name of others) files.push(await bundle(name, { entryPoints: [join(client, name)] }, { inEntry: modules }))
  for (const { name, contents, sizes } of files) {
    if (sizes[0] === 0) continue // types only
    writeFileSync(join(folder, name), contents)
    print({ socket: 'file', event: name, args: sizes })
  }
  for (const [name, minified] of first.modules.sort(([, a], [, b]) => b - a)) {
    print({ socket: 'module', event: name, args: [minified] })
  }
  const frameworks = ['react', 'vue', 'svelte'].filter((name) => others.includes(name + '.js'))
  const all = [`export * from "./${entry}";`, ...frameworks.map((name) => `export * as ${name} from "./${name}.js";`)].join('\n')
  const { sizes } = await bundle(entry, { stdin: { contents: all, resolveDir: client } }, { loads: 'at once' })
  print({ socket: 'all', event: 'in one', args: sizes })
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
