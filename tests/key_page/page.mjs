// The pages of the admin listeners in a real browser. SCREENSHOTS names a folder for pictures of them.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { join } from "node:path";

import { finish, promise } from "../better_auth/lib.mjs";
import { LAUNCH, complaintsOf } from "../browser.mjs";
import { story } from "./story.mjs";

// One copy of the driver for every check that needs a browser.
const { chromium } = createRequire(new URL("../better_auth/lib.mjs", import.meta.url))("playwright-core");

const WIDTHS = [320, 375, 700, 1200];
// WCAG 2.2 §1.4.3.
const LEAST_CONTRAST = 4.5;
// Pixels on the screen.
const LEAST_LETTER = 10.5;

const told = await story();
const browser = await chromium.launch(LAUNCH);
const page = await browser.newPage();
const complaints = complaintsOf(page);

async function look(url, { width = 1200, colorScheme = "light", open = false } = {}) {
  await page.emulateMedia({ colorScheme });
  await page.setViewportSize({ width, height: 900 });
  await page.goto(`${url}/`);
  if (open) await page.locator("summary").evaluateAll((all) => all.forEach((summary) => summary.click()));
}

async function picture(name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`), fullPage: true });
}

// Text that is seen, with its color, what is behind it and its size on the screen.
function texts() {
  const channels = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [red, green, blue, alpha = 1] = channels(getComputedStyle(at).backgroundColor);
      if (alpha > 0) return [red, green, blue];
    }
    return [255, 255, 255];
  };
  const luminance = (rgb) => {
    const linear = rgb.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const seen = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
    if (!own || !element.checkVisibility() || ["title", "desc"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const svg = element.ownerSVGElement;
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    let ground = behind(svg ?? element);
    const bar = element.closest("g.past")?.querySelector("rect");
    if (bar && element.tagName === "text") ground = channels(getComputedStyle(bar).fill);
    if (element.classList.contains("now")) ground = channels(getComputedStyle(svg.querySelector("rect.now")).fill);
    const color = channels(svg ? style.fill : style.color).slice(0, 3);
    const [light, dark] = [luminance(color), luminance(ground)].sort((a, b) => b - a);
    seen.push({
      text: element.textContent.slice(0, 40),
      contrast: (light + 0.05) / (dark + 0.05),
      size: parseFloat(style.fontSize) * scale,
    });
  }
  return seen;
}

const pages = { keys: told.service.admin, gate: told.gate.admin };

for (const [name, url] of Object.entries(pages)) {
  await promise(`${name}: nothing is wider than the screen, open or closed`, async () => {
    for (const width of WIDTHS) {
      for (const open of [false, true]) {
        await look(url, { width, open });
        const [inner, scroll] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
        assert.ok(scroll <= inner, `${width}: ${scroll}`);
      }
    }
  });

  await promise(`${name}: text stands out from its ground, in light and in dark, and is large enough`, async () => {
    for (const colorScheme of ["light", "dark"]) {
      for (const width of [375, 1200]) {
        await look(url, { colorScheme, width, open: true });
        const seen = await page.evaluate(texts);
        assert.ok(seen.length > 30);
        const faint = seen.filter(({ contrast }) => contrast < LEAST_CONTRAST);
        assert.deepEqual(faint, [], `${colorScheme} ${width}`);
        const small = seen.filter(({ size }) => size < LEAST_LETTER);
        assert.deepEqual(small, [], `${width}`);
      }
    }
  });

  await promise(`${name}: one heading of the first level, sections with headings, pictures with names, tables with headings`, async () => {
    await look(url, { open: true });
    assert.equal(await page.getByRole("heading", { level: 1 }).count(), 1);
    assert.equal(await page.locator("html").getAttribute("lang"), "en");
    assert.equal(await page.locator("section:not(:has(h2))").count(), 0);
    const unnamed = await page.locator("svg").evaluateAll((all) => all
      .filter((svg) => svg.checkVisibility() && svg.getAttribute("aria-hidden") !== "true")
      .filter((svg) => svg.getAttribute("role") !== "img" ||
        !(svg.getAttribute("aria-label") ?? svg.querySelector("title")?.textContent))
      .map((svg) => svg.outerHTML.slice(0, 80)));
    assert.deepEqual(unnamed, []);
    assert.equal(await page.locator("table:not(:has(caption)), table:not(:has(th[scope]))").count(), 0);
    const ids = await page.locator("[id]").evaluateAll((all) => all.map((element) => element.id));
    assert.equal(new Set(ids).size, ids.length, "an id is there twice");
    const dangling = await page.locator("[aria-labelledby]").evaluateAll((all) => all
      .flatMap((element) => element.getAttribute("aria-labelledby").split(" "))
      .filter((id) => !document.getElementById(id)));
    assert.deepEqual(dangling, []);
  });

  await promise(`${name}: no script, and the pictures are styled under the policy`, async () => {
    const response = await page.goto(`${url}/`);
    assert.match(response.headers()["content-security-policy"], /default-src 'none'/);
    assert.equal(response.headers()["cache-control"], "no-store");
    assert.equal(await page.locator("script, [onload], [onerror], [style], iframe, img").count(), 0);
    assert.notEqual(await page.locator("body").evaluate((body) => getComputedStyle(body).backgroundColor), "rgba(0, 0, 0, 0)");
  });

  for (const [suffix, options] of Object.entries({
    light: {}, dark: { colorScheme: "dark" }, phone: { width: 375 }, "phone-dark": { width: 375, colorScheme: "dark" },
  })) {
    await look(url, options);
    await picture(`${name}-${suffix}`);
  }
  await look(url, { open: true });
  await picture(`${name}-open`);
}

await promise("the keys, their stages and the revocation are in the picture and in the table", async () => {
  await look(pages.keys, { open: true });
  const picture = page.getByRole("img", { name: "Timeline of the EdDSA keys" });
  assert.equal(await picture.count(), 1, "one of the two shapes is shown");
  const row = page.getByRole("row").filter({ hasText: told.kids.stolen });
  assert.match(await row.innerText(), /revoked[\s\S]*stolen with a laptop <b>&<\/b>/);
  assert.equal(await page.getByRole("row").filter({ hasText: "signing" }).count() >= 2, true);
  assert.match(await page.locator("svg.wide g.revoked title").first().textContent(), /^revoked /);
});

await promise("the names in the picture never meet a bar", async () => {
  for (const width of [375, 1200]) {
    await look(pages.keys, { width });
    const meeting = await page.evaluate(() => [...document.querySelectorAll("svg.timeline")]
      .filter((svg) => svg.checkVisibility())
      .flatMap((svg) => {
        const boxes = (selector) => [...svg.querySelectorAll(selector)].map((element) => element.getBoundingClientRect());
        const bars = boxes("g.past rect, g.planned rect");
        return boxes("text.kid, text.words").filter((name) => bars.some((bar) =>
          name.left < bar.right && bar.left < name.right && name.top < bar.bottom && bar.top < name.bottom));
      }));
    assert.deepEqual(meeting, [], `${width}`);
  }
});

await promise("a page that is live asks for itself anew, and only that one", async () => {
  await page.goto(`${pages.keys}/`);
  assert.equal(await page.locator("meta[http-equiv]").count(), 0);
  await page.getByRole("link", { name: /^every/ }).click();
  assert.equal(await page.locator("meta[http-equiv=refresh]").count(), 1);
});

await promise("the browser had nothing to complain of", async () => assert.deepEqual(complaints, []));

await browser.close();
await told.stop();
finish("key-page");
