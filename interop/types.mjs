// The declarations (.d.ts) of the client, which TypeScript makes from its sources:
//
//   node types.mjs           writes them to ../client
//   node types.mjs --check   compares them with what is there, and says what differs
//
// Sources that begin with "// @ts-check" are checked too, strictly.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const client = fileURLToPath(new URL('../client', import.meta.url))
const entries = ['socketauth', 'react', 'vue', 'svelte']
const checks = process.argv.includes('--check')

// The frameworks' types. Svelte declares all its modules in one file.
const packages = fileURLToPath(new URL('frameworks/node_modules', import.meta.url))
const svelte = join(packages, 'svelte/types/index.d.ts')
const paths = { react: [join(packages, '@types/react/index.d.ts')], vue: [join(packages, 'vue/dist/vue.d.mts')] }

const options = {
  allowJs: true,
  declaration: true,
  emitDeclarationOnly: true,
  lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
  maxNodeModuleJsDepth: 0,
  module: ts.ModuleKind.NodeNext,
  newLine: ts.NewLineKind.LineFeed,
  noUnusedLocals: true,
  paths,
  skipLibCheck: true,
  strict: true,
  target: ts.ScriptTarget.ES2022,
  types: [],
}
const host = ts.createCompilerHost(options)
const { fileExists } = host
host.fileExists = (path) => !(path.startsWith(client) && path.endsWith('.d.ts')) && fileExists(path)
const program = ts.createProgram([...entries.map((name) => join(client, name + '.js')), svelte], options, host)

// tidy removes from the comments what the declarations themselves say.
function tidy(path, text) {
  const head = `// Made from ${basename(path, '.d.ts')}.js by interop/types.mjs.\n\n`
  return head + text
    .replace(/^ +\* @(template|param|returns|private)\b.*\n/gm, '')
    .replace(/(\n *\*)+(?=\n *\*\/)/g, '')
    .replace(/^ *\/\*\*( @returns .*|\n *) ?\*\/\n/gm, '')
    .replace(/^\/\*\* @(import|typedef) .*\*\/\n/gm, '')
}

const made = new Map() // by name
const { diagnostics } = program.emit(undefined, (path, text) => made.set(basename(path), tidy(path, text)))
const faults = [...ts.getPreEmitDiagnostics(program), ...diagnostics]
console.error(ts.formatDiagnostics(faults, {
  getCanonicalFileName: (name) => name,
  getCurrentDirectory: () => client,
  getNewLine: () => '\n',
}))
let ok = faults.length === 0

// Only what the entries need is kept: the other files are not for users.
const needed = new Set()
const need = (name) => {
  if (needed.has(name)) return
  needed.add(name)
  for (const [, other] of made.get(name).matchAll(/['"]\.\/(.+?)\.js['"]/g)) need(other + '.d.ts')
}
for (const name of entries) need(name + '.d.ts')

for (const name of new Set([...needed, ...readdirSync(client).filter((name) => name.endsWith('.d.ts'))])) {
  const path = join(client, name)
  const before = existsSync(path) ? readFileSync(path, 'utf8') : undefined
  const now = needed.has(name) ? made.get(name) : undefined
  if (now === before) continue
  if (checks) {
    console.error(`client/${name} is not what its source says: run "node types.mjs" in interop`)
    ok = false
  } else if (now === undefined) {
    rmSync(path)
  } else {
    writeFileSync(path, now)
  }
}
process.exitCode = ok ? 0 : 1
