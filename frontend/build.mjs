// Bundles the dashboard's scripts and styles into the Python package, with content-hashed names and a manifest.
//
//   npm ci && node build.mjs          (needs no network once the packages are installed)
//
// The output folder is emptied first, so a file in it always belongs to the manifest beside it.
import { build } from "esbuild";
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const outdir = resolve(root, "../control_plane/dashboard/assets/dist");

// What templates may ask for: `asset("app.js")`, `asset("app.css")`, … Everything else is reached by import.
const entryPoints = [
  { in: "src/app.js", out: "app" },
  { in: "src/chart.js", out: "chart" },
  { in: "src/docs.js", out: "docs" },
  { in: "src/css/app.css", out: "app" },
  { in: "src/css/chart.css", out: "chart" },
  { in: "src/css/docs.css", out: "docs" },
  { in: "src/img/logo.svg", out: "logo" },
];

/** Maps each entry point's plain name to its hashed file, as `{"app.js": "app-XXXXXXXX.js"}`. */
function manifestOf(metafile) {
  const bySource = new Map(entryPoints.map((entry) => [entry.in, entry]));
  const manifest = {};
  for (const [path, output] of Object.entries(metafile.outputs)) {
    // A file that is copied as it is (an SVG) has no entryPoint in esbuild's report, only itself as input.
    const source = output.entryPoint ?? Object.keys(output.inputs)[0];
    const entry = bySource.get(source);
    if (!entry) continue;
    const extension = path.slice(path.lastIndexOf("."));
    manifest[entry.out + extension] = basename(path);
  }
  return Object.fromEntries(Object.entries(manifest).sort());
}

/** The licence texts of every package that ended up in a bundle: their terms ask that they travel along. */
async function licencesOf(metafile) {
  const packages = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[1]);
  }
  const parts = [];
  for (const name of [...packages].sort()) {
    const folder = join(root, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    parts.push(`${"=".repeat(78)}\n${name} ${version} (${license})\n${"=".repeat(78)}`);
    for (const file of (await readdir(folder)).sort()) {
      if (/^(licen[cs]e|notice)/i.test(file)) parts.push(await readFile(join(folder, file), "utf8"));
    }
  }
  return parts.join("\n\n") + "\n";
}

/** Replaces a file in one step: a server that starts meanwhile reads the old text or the new one, never half of it. */
async function replaceFile(path, text) {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

if (!existsSync(join(root, "node_modules"))) {
  console.error("frontend: the npm packages are not installed; run `npm ci` here first, or `make assets` at the top");
  process.exit(1);
}

const started = performance.now();
await rm(outdir, { recursive: true, force: true });
await mkdir(outdir, { recursive: true });
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints,
  outdir: relative(root, outdir),
  entryNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome109", "firefox115", "safari16.4"],
  loader: { ".svg": "copy" },
  charset: "utf8",
  legalComments: "none", // their full texts go to licences.txt instead
  logOverride: { "direct-eval": "silent" }, // htmx's own, switched off by its configuration and by our CSP
  metafile: true,
});
await replaceFile(join(outdir, "licences.txt"), await licencesOf(metafile));
// Last, because its presence says that everything it names is there.
await replaceFile(join(outdir, "manifest.json"), JSON.stringify(manifestOf(metafile), null, 2) + "\n");
console.log(`frontend: ${Object.keys(metafile.outputs).length} files in ${Math.round(performance.now() - started)} ms`);
