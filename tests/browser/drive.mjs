// SPDX-License-Identifier: GPL-3.0-or-later
// Drives a headless browser by lines of JSON: one command a line on standard input, one answer a line on standard output.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [modules, executablePath] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({ executablePath, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
let page, events;

const commands = {
  async open({ url, options }) {
    await page?.context().close();
    page = await (await browser.newContext(options)).newPage();
    page.setDefaultTimeout(10_000);
    events = [];
    page.on("request", (request) => events.push(`request ${request.url()}`));
    page.on("console", (message) => events.push(`console ${message.text()}`));
    page.on("pageerror", (error) => events.push(`error ${error}`));
    page.on("dialog", (dialog) => (events.push(`dialog ${dialog.message()}`), dialog.dismiss()));
    const begun = performance.now();
    await page.goto(url);
    if (options.javaScriptEnabled !== false) {
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))); // it is painted
    }
    return (performance.now() - begun) / 1000;
  },
  events: () => events,
  evaluate: ({ script }) => page.evaluate(script),
  texts: ({ selector }) => page.locator(selector).allInnerTexts(),
  click: ({ selector, force }) => page.click(selector, { force }),
  fill: ({ selector, text }) => page.fill(selector, text),
  select: ({ selector, text }) => page.selectOption(selector, text),
  press: ({ key }) => page.keyboard.press(key),
  media: ({ media }) => page.emulateMedia({ media }),
  async picture({ path }) {
    const session = await page.context().newCDPSession(page);
    const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality: 85 });
    writeFileSync(path, data, "base64");
  },
  async violations() {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...values } = JSON.parse(line);
  const tooLong = new Promise((_, reject) => setTimeout(reject, 60_000, "no answer within a minute").unref());
  const answer = await Promise.race([commands[command](values), tooLong]).then(
    (value) => ({ value: value ?? null }),
    (error) => ({ error: String(error) }),
  );
  console.log(JSON.stringify(answer));
}
await browser.close();
