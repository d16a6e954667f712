// Opens the page in headless Chromium and plays one story with it, as its JSON argument says; prints a line of JSON, and exits 0 when all
// of it could be done. What is kept for people goes to the folder `artefacts`.
import { createServer } from "node:http";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const options = JSON.parse(process.argv[2]);
const { chromium } = await import(join(options.modules, "playwright-core/index.mjs"));
const here = fileURLToPath(new URL(".", import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript" };

const server = createServer(async (request, response) => {
  const path = normalize(new URL(request.url, "http://page").pathname);
  const file = path.startsWith("/sip.js/") ? join(options.modules, path) : join(here, path);
  try {
    const body = await readFile(file);
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((done) => server.listen(0, options.host, done));

const profile = await mkdtemp(join(tmpdir(), "ringpath-chromium-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: options.chromium,
  headless: true,
  ignoreHTTPSErrors: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    // Everything here is on loopback, whose addresses a browser does not use by itself.
    "--allow-loopback-in-peer-connection",
    "--ignore-certificate-errors",
    `--unsafely-treat-insecure-origin-as-secure=http://${options.host}:${server.address().port}`,
  ],
});
browser.setDefaultTimeout(20_000);

/** A page with a phone that is registered. */
async function phone(who) {
  const page = await browser.newPage();
  page.on("console", (message) => process.stderr.write(`${who.user}: ${message.text()}\n`));
  page.on("pageerror", (error) => process.stderr.write(`${who.user}: ${error}\n`));
  await page.goto(`http://${options.host}:${server.address().port}/page.html`);
  await page.waitForFunction("window.isReady");
  await page.evaluate((options) => window.begin(options), { ...options.line, ...who });
  await page.evaluate("phone.register()");
  return page;
}

async function keep(page, name) {
  const { figures, reports } = await page.evaluate("phone.statistics()");
  await writeFile(join(options.artefacts, `${name}.json`), JSON.stringify(reports, null, 2));
  await page.bringToFront();
  await page.screenshot({ path: join(options.artefacts, `${name}.png`) });
  return figures;
}

const stories = {
  /** Calls, is heard and hears, holds and resumes, restarts ICE, hangs up. */
  async call() {
    const page = await phone(options.phones[0]);
    await page.evaluate((user) => phone.call(user), options.callee);
    const connected_ms = await page.evaluate("phone.connected()");
    const heard = [await page.evaluate("phone.hear()")];
    const figures = { ...(await keep(page, "call")), connected_ms };
    await page.evaluate("phone.hold(true)");
    await page.evaluate("phone.hold(false)");
    heard.push(await page.evaluate("phone.hear()"));
    await page.evaluate("phone.restart()");
    heard.push(await page.evaluate("phone.hear()"));
    await page.evaluate("phone.bye()");
    await page.evaluate("phone.leave()");
    return { heard, figures };
  },
  /** Is called, and hung up on. */
  async called() {
    const page = await phone(options.phones[0]);
    await page.evaluate("phone.answer()");
    const connected_ms = await page.evaluate("phone.connected()");
    const heard = [await page.evaluate("phone.hear()")];
    const figures = { ...(await keep(page, "called")), connected_ms };
    await page.evaluate("phone.over()");
    await page.evaluate("phone.leave()");
    return { heard, figures };
  },
  /** Two of them, each with its own association with the node. */
  async two() {
    const [one, other] = await Promise.all(options.phones.map(phone));
    const answered = other.evaluate("phone.answer()");
    await one.evaluate((user) => phone.call(user), options.phones[1].user);
    await answered;
    const heard = [];
    for (const page of [one, other]) {
      // Who is not looked at has its audio slowed down.
      await page.bringToFront();
      heard.push(await page.evaluate("phone.hear()"));
    }
    const figures = await keep(one, "two");
    await other.evaluate("phone.bye()");
    await one.evaluate("phone.over()");
    await Promise.all([one, other].map((page) => page.evaluate("phone.leave()")));
    return { heard, figures };
  },
};

try {
  const result = await stories[options.story]();
  process.stdout.write(`${JSON.stringify(result)}\n`);
} catch (error) {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
} finally {
  await browser.close();
  server.close();
  await rm(profile, { recursive: true, force: true });
}
