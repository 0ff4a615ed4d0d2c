// A Chromium at the other end of a pipe: each line on the standard input is {"script", "given"} in JSON, an async function's body
// that sees `open`, `page`, `axe` and `given`; each line on the standard output is what it returned, or what went wrong. Given to
// node by -e, because imports are then looked for from the working directory.
import readline from 'node:readline';
import { AxeBuilder } from '@axe-core/playwright';
import { chromium } from 'playwright-core';

const Script = (async () => {}).constructor;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const seen = { requests: [], complaints: [] };
let context = null;
let page = null;

/** Opens a page as somebody would who has never been there; `options` are those of a browser context. */
async function open(url, options = {}) {
  await context?.close();
  context = await browser.newContext({ viewport: { width: 1366, height: 900 }, ...options });
  context.setDefaultTimeout(10_000);
  page = await context.newPage();
  context.on('request', (request) => seen.requests.push(request.url()));
  page.on('pageerror', (error) => seen.complaints.push(`error: ${error.message}`));
  page.on('console', (said) => {
    if (['error', 'warning'].includes(said.type())) seen.complaints.push(`${said.text()} (${said.location().url})`);
  });
  await page.addInitScript(() => document.addEventListener('securitypolicyviolation',
    (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`)));
  await page.goto(url);
}

/** What axe-core has against the page as it is now, or a part of it, by rule and element. */
async function axe(part) {
  const look = new AxeBuilder({ page });
  const { violations } = await (part ? look.include(part) : look).analyze();
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target.join(' ')}: ${node.failureSummary}`));
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { script, given } = JSON.parse(line);
  let answer;
  try {
    answer = { result: await new Script('open', 'page', 'axe', 'seen', 'given', script)(open, page, axe, seen, given) ?? null };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
