// Everything in one HTML file that needs no network, and the licences of what is in it beside it.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { defineConfig } from 'vite';

const bundled = ['dompurify', 'highlight.js', 'marked', 'preact'];

function licences() {
  return bundled
    .map((name) => {
      const folder = `node_modules/${name}/`;
      const { version, license } = JSON.parse(readFileSync(`${folder}package.json`, 'utf8'));
      const file = ['LICENSE', 'LICENSE.md'].find((candidate) => existsSync(folder + candidate));
      if (!file) {
        throw new Error(`${name} has no licence file`);
      }
      return `${name} ${version} (${license})\n\n${readFileSync(folder + file, 'utf8').trim()}\n`;
    })
    .join(`\n${'-'.repeat(80)}\n\n`);
}

const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

// The policy lets the page run its own script, use its own style and talk to its own server, and nothing else.
function policy(script, style) {
  const rules = [
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    'img-src data:',
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
  ];
  return `<meta http-equiv="Content-Security-Policy" content="${rules.join('; ')}">`;
}

function singleFile() {
  return {
    name: 'single-file',
    enforce: 'post',
    generateBundle(_options, bundle) {
      const files = Object.values(bundle);
      const page = files.find((file) => file.fileName.endsWith('.html'));
      const scripts = files.filter((file) => file.type === 'chunk');
      const styles = files.filter((file) => file.fileName.endsWith('.css'));
      if (scripts.length !== 1 || styles.length !== 1 || files.length !== 3) {
        throw new Error(`expected one page, one script, one style: ${files.map((file) => file.fileName)}`);
      }
      // What could end the element early stands in strings and regular expressions only (esbuild keeps it out of
      // the code itself), where \x3c means the same.
      const script = scripts[0].code.trim().replace(/<(?=!--|\/?script)/gi, '\\x3c');
      const style = styles[0].source.trim();
      if (/<\/style/i.test(style)) {
        throw new Error('the style would end its element early');
      }
      // Functions as replacements: in a string "$&" would have a meaning.
      page.source = page.source
        .replace(/<script[^>]*src=[^>]*><\/script>\s*/, '')
        .replace(/<link[^>]*rel="stylesheet"[^>]*>\s*/, '')
        .replace('<meta charset="utf-8">', (all) => all + policy(script, style))
        .replace('</head>', (all) => `<style>${style}</style></head>`)
        .replace('</body>', (all) => `<script type="module">${script}</script></body>`);
      delete bundle[scripts[0].fileName];
      delete bundle[styles[0].fileName];
      this.emitFile({ type: 'asset', fileName: 'LICENSES.txt', source: licences() });
    },
  };
}

export default defineConfig({
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact', legalComments: 'none' },
  build: {
    target: 'es2022',
    modulePreload: false,
    assetsInlineLimit: Infinity,
    chunkSizeWarningLimit: 1000,
    reportCompressedSize: false,
  },
  plugins: [singleFile()],
});
