import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Browser, type BrowserContext, chromium, type Page, type Response } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ensurePage } from '../../../agents/setup/build-page.mjs';
import { openBundles } from '../../../attest/inspector/bundles.ts';
import type { SourcedReport } from '../../../attest/inspector/report.ts';
import { type OpenInspector, openInspector } from '../../../attest/inspector/server.ts';
import { trustSigner } from '../../../attest/verify/trust.ts';
import type { VerifyReport } from '../../../attest/verify/verdict.ts';
import { verifyBundle } from '../../../attest/verify/verifier.ts';
import { CHROMIUM_FLAGS, findChromium } from '../../support/chromium.ts';
import { withhold } from '../../support/forging.ts';
import { longRun, lyingRun, tamperings, textRun } from '../../support/inspected.ts';
import { OPERATOR, type ToyRun, toyRun } from '../../support/toy-run.ts';
import { vectorsDir } from '../../support/vectors.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const SHOTS = join(ROOT, '.cache/screenshots');
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Texts that are no letters for a page: markup, and directions. */
const HOSTILE = [
  '<img src=x onerror=alert(1)>',
  '"><script>alert(1)</script>',
  "javascript:alert('x')",
  '{{constructor.constructor("alert(1)")()}}',
  '\u202Eevil\u202C',
  'zero\u200Bwidth',
  '</pre></section><iframe src=//a.test>',
];

/** What a page must never have done, seen from inside it; runs before its own scripts. */
const WATCH = `
window.violations = [];
window.longTasks = [];
addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective + ' ' + event.blockedURI));
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: 'longtask', buffered: true });
`;

const executablePath = findChromium();
if (executablePath === undefined) console.warn('SKIPPED: no Chromium is here (apt-get install chromium)');

describe.skipIf(executablePath === undefined)('the page in Chromium', () => {
  let folder: string;
  let honest: ToyRun;
  let lieStep: number;
  let inspector: OpenInspector;
  let browser: Browser;
  let context: BrowserContext | undefined;
  const reports = new Map<string, VerifyReport>();
  let faults: ReturnType<typeof tamperings>;

  beforeAll(async () => {
    await ensurePage(ROOT);
    mkdirSync(SHOTS, { recursive: true });
    folder = mkdtempSync(join(tmpdir(), 'tracebond-inspector-'));
    honest = await toyRun();
    faults = tamperings(honest.bytes);
    const lie = await lyingRun(honest);
    lieStep = lie.step;
    const put = (name: string, bytes: Uint8Array) => writeFileSync(join(folder, `${name}.trace`), bytes);
    put('honest', honest.bytes);
    for (const [i, { bytes }] of faults.entries()) put(`fault-${i}`, bytes);
    put('lie', lie.bytes);
    put('withheld', withhold(honest.bytes, 0));
    put('asked', withhold(honest.bytes, 0, 1));
    put('long', await longRun(5000));
    put('texts', await textRun([...HOSTILE, ...blns()]));
    const verify = async (bytes: Uint8Array) =>
      await verifyBundle({ now: () => performance.now(), executor: honest.executor, trust: trustSigner(OPERATOR) }, [
        bytes,
      ]);
    reports.set('lie', await verify(lie.bytes));
    inspector = await openInspector({
      bundles: await openBundles(folder),
      page: pathToFileURL(join(ROOT, 'dist/attest/inspector/page/')),
      reportOf: ({ id }) => asSourced(reports.get(id), 'file'),
      verify: async ({ path }) => asSourced(await verify(readFileSync(path)), 'here') as SourcedReport,
    });
    browser = await chromium.launch({ executablePath: executablePath ?? '', args: [...CHROMIUM_FLAGS] });
  });
  afterAll(async () => {
    await browser?.close();
    await inspector?.close();
    rmSync(folder, { recursive: true, force: true });
  });
  afterEach(async () => {
    await context?.close();
    context = undefined;
    expect(faulty.splice(0)).toEqual([]);
  });

  /** What pages did that they must not: errors, dialogs, requests to others. */
  const faulty: string[] = [];

  type View = {
    readonly width?: number;
    readonly height?: number;
    readonly scheme?: 'light' | 'dark';
    readonly scale?: number;
  };

  /** Opens a place of the page, in a window of its own, and waits until the bundle is checked. */
  async function open(
    hash: string,
    { width = 1280, height = 900, scheme = 'light', scale = 1 }: View = {},
  ): Promise<Page> {
    context = await browser.newContext({
      viewport: { width, height },
      deviceScaleFactor: scale,
      colorScheme: scheme,
      reducedMotion: 'reduce',
    });
    await context.addInitScript(WATCH);
    const page = await context.newPage();
    page.on('pageerror', ({ message }) => faulty.push(message));
    page.on('dialog', (dialog) => {
      faulty.push(`dialog ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('request', (request) => {
      if (!request.url().startsWith(inspector.url) && !request.url().startsWith('data:')) faulty.push(request.url());
    });
    await page.goto(inspector.url + hash);
    if (hash.startsWith('#/run/')) await page.waitForSelector('.claims', { timeout: 30_000 });
    else await page.waitForSelector('.runs');
    return page;
  }

  const levels = (page: Page) =>
    page.$$eval('[data-claim]', (nodes) =>
      Object.fromEntries(nodes.map((node) => [node.getAttribute('data-claim'), node.getAttribute('data-level')])),
    );

  async function expectSound(page: Page): Promise<void> {
    expect(await page.evaluate('violations')).toEqual([]);
    expect(
      await page.$$eval(
        '.sign',
        (nodes) => nodes.filter((node) => !node.querySelector('svg') || !node.textContent).length,
      ),
    ).toBe(0);
  }

  it('has a first load below 120 kB, compressed', async () => {
    const loaded: Promise<{ readonly encoding: string | null; readonly bytes: number }>[] = [];
    context = await browser.newContext();
    const page = await context.newPage();
    const sizeOf = async (response: Response) => ({
      encoding: await response.headerValue('content-encoding'),
      bytes: Number(await response.headerValue('content-length')),
    });
    page.on('response', (response) => {
      if (!response.url().includes('/api/') && !response.url().startsWith('data:')) loaded.push(sizeOf(response));
    });
    await page.goto(`${inspector.url}#/run/honest`);
    // The worker's part is there too: it has checked the run.
    await page.waitForSelector('.claims');
    const files = await Promise.all(loaded);
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    console.info(`first load: ${files.length} files, ${bytes} bytes compressed`);
    expect(files.map(({ encoding }) => encoding)).toEqual(files.map(() => 'gzip'));
    expect(files.length).toBeGreaterThanOrEqual(4);
    expect(bytes).toBeGreaterThan(60_000);
    expect(bytes).toBeLessThan(120_000);
  });

  it('lists the runs of a folder, and opens one by the keyboard', async () => {
    const page = await open('');
    expect(await page.$$eval('.runs a', (nodes) => nodes.length)).toBe(faults.length + 6);
    await page.locator('.runs a', { hasText: 'honest' }).focus();
    await page.keyboard.press('Enter');
    await page.waitForSelector('.claims');
    expect(new URL(page.url()).hash).toBe('#/run/honest');
    await expectSound(page);
  });

  it('shows an honest run with every claim green or amber, each with its reason', async () => {
    const page = await open('#/run/honest');
    expect(await levels(page)).toEqual({
      signed: 'part',
      ran: 'good',
      checked: 'good',
      executed: 'part',
      recorded: 'part',
      ended: 'good',
      seed: 'good',
      bond: 'part',
    });
    const texts = await page.$$eval('[data-claim] p', (nodes) => nodes.map((node) => node.textContent ?? ''));
    for (const text of texts) expect(text.length).toBeGreaterThan(15);
    expect(await page.textContent('[data-claim=recorded]')).toContain('clock.now 1');
    expect(await page.textContent('[data-claim=bond]')).toContain('no bond stands behind it');
    expect(await page.textContent('.unproved')).toContain('that the model is wise');
    expect(await page.textContent('.headline.part')).toContain('only executing them again can say');
    expect(await page.$$eval('.row.bad', (nodes) => nodes.length)).toBe(0);
    await page.screenshot({ path: join(SHOTS, 'honest-desktop.png'), fullPage: true });
    await expectSound(page);
  });

  it('executes again when the reader asks, and says by whom', async () => {
    const page = await open('#/run/honest');
    await page.getByRole('button', { name: 'Execute again' }).click();
    await page.waitForSelector('[data-claim=executed][data-level=good]');
    expect(await page.textContent('[data-claim=executed]')).toContain("this computer's verifier, when you asked");
    expect((await levels(page))['signed']).toBe('good');
    expect(await page.textContent('.headline.good')).toContain('came out equal on this computer');
    expect(await page.textContent('.row')).toContain('equal');
    await page.screenshot({ path: join(SHOTS, 'executed-desktop.png'), fullPage: true });
  });

  it('shows each way of tampering in red at its record', async () => {
    const page = await open('#/run/honest');
    for (const [i, { name, step, code }] of faults.entries()) {
      // Of the stored hashes one here; all of them are looked at without a browser.
      if (name.startsWith('a stored hash') && !name.endsWith('post')) continue;
      await page.goto(`${inspector.url}#/run/fault-${i}/step/${step}`);
      await page.waitForSelector('[data-claim=checked][data-level=bad]');
      const row = page.locator(`.row[data-index="${step}"]`);
      expect({ name, level: await row.getAttribute('data-level') }).toEqual({ name, level: 'bad' });
      expect(await row.textContent()).toContain('does not fit');
      expect({ name, code: await page.getAttribute('[data-fault]', 'data-fault') }).toEqual({ name, code });
      expect(await page.$$eval('.row.bad', (nodes) => nodes.length)).toBe(1);
      if (name.startsWith('a stored hash')) {
        const field = `head.${name.split(' ').at(-1)}`;
        const hash = page.locator('.hashes li', { hasText: new RegExp(`${field} (same|differs)`) });
        await hash.waitFor();
        expect(await hash.getAttribute('data-same')).toBe('false');
        expect(await hash.textContent()).toMatch(/in the file 0x[0-9a-f]{64} Copycomputed here 0x[0-9a-f]{64} Copy/);
        if (field === 'head.post') await page.screenshot({ path: join(SHOTS, 'tampered-desktop.png'), fullPage: true });
      }
      if (name === 'a byte of a payload') {
        await page.waitForSelector('.payload');
        expect(await page.getAttribute('.payload .hashes li', 'data-same')).toBe('false');
      }
    }
    await expectSound(page);
  });

  it("shows the diverged record in red, claimed beside recomputed, from a verifier's report", async () => {
    const page = await open(`#/run/lie/step/${lieStep}`);
    expect(await levels(page)).toMatchObject({ checked: 'good', executed: 'bad' });
    await page.waitForSelector('[data-diverged]');
    expect(await page.getAttribute(`.row[data-index="${lieStep}"]`, 'data-level')).toBe('bad');
    const sides = await page.$$eval('.sides > div', (nodes) => nodes.map((node) => node.textContent ?? ''));
    expect(sides[0]).toContain('Claimed by the operator');
    expect(sides[1]).toContain('Recomputed by the verifier');
    const { claimed, recomputed } = reports.get('lie')?.steps[lieStep] ?? {};
    expect(sides[0]).toContain(String(claimed));
    expect(sides[1]).toContain(String(recomputed));
    expect(claimed).not.toBe(recomputed);
    expect(await page.textContent('[data-claim=executed]')).toContain('whose report was given');
    expect(await page.textContent('.headline.bad')).toContain(`record ${lieStep}`);
    await page.screenshot({ path: join(SHOTS, 'diverged-desktop.png'), fullPage: true });
    await expectSound(page);
  });

  it('does not use a report about another history', async () => {
    reports.set('withheld', reports.get('lie') as VerifyReport);
    const page = await open(`#/run/withheld/step/${lieStep}`);
    reports.delete('withheld');
    expect(await page.textContent('[data-claim=executed]')).toContain('is not used');
    expect(await page.$$eval('.row.bad, [data-diverged]', (nodes) => nodes.length)).toBe(0);
  });

  it('shows withheld payloads as withheld', async () => {
    const page = await open('#/run/withheld/step/0');
    await page.waitForSelector('[data-payload=withheld]');
    expect(await page.textContent('[data-payload=withheld]')).toContain('Withheld');
    expect(await page.textContent('.row[data-index="0"]')).toContain('withheld');
    expect((await levels(page))['checked']).toBe('part');
  });

  it('moves by the keyboard, filters, and links to one record', async () => {
    const page = await open('#/run/honest');
    await page.locator('.row[tabindex="0"]').focus();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    await until(page, 'location.hash === "#/run/honest/step/2"');
    await until(page, 'document.activeElement.dataset.index === "2"');
    expect(await page.$$eval('.row[tabindex="0"]', (nodes) => nodes.length)).toBe(1);
    // A key that is held down is faster than the page: no step is lost, and the focus ends where the choice is.
    await page.evaluate(
      "for (let i = 0; i < 5; i++) document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown', bubbles: true }))",
    );
    await until(page, 'location.hash === "#/run/honest/step/7"');
    await until(page, 'document.activeElement.dataset.index === "7"');
    await page.keyboard.press('End');
    const last = await page.evaluate<string>('document.activeElement.getAttribute("aria-setsize")');
    await until(page, `location.hash === "#/run/honest/step/${Number(last) - 1}"`);
    await page.keyboard.press('Enter');
    expect(await page.evaluate('document.activeElement.id')).toBe('detail');
    await page.keyboard.press('Escape');
    expect(await page.evaluate('document.activeElement.dataset.index')).toBe(String(Number(last) - 1));
    await page.selectOption('.filters select >> nth=0', 'tool.start');
    await until(page, "document.querySelectorAll('.row').length === 1");
    expect(await page.$$eval('.row', (nodes) => nodes.map((node) => node.textContent))).toEqual([
      expect.stringContaining('tool.start'),
    ]);
    await page.selectOption('.filters select >> nth=0', '');
    await page.selectOption('.filters select >> nth=1', 'opaque');
    await until(page, `document.querySelector('.filters [role=status]').textContent === '2 of ${last} shown'`);
    await page.selectOption('.filters select >> nth=1', '');
    await page.fill('.filters input', 'http.fetch');
    await until(page, `/^\\d+ of \\d+ shown$/.test(document.querySelector('.filters [role=status]').textContent)`);
    const inner = await page.$$eval('.row', (nodes) => nodes.map((node) => node.textContent ?? ''));
    expect(inner.some((text) => text.includes('host.end'))).toBe(true);
    expect(inner.filter((text) => !text.includes('http.fetch'))).toEqual([
      expect.stringMatching(/run\.open.*in body\.policy\.rules/),
    ]);
    await page.fill('.filters input', 'SECOND line');
    await page.waitForSelector('.row:has-text("in body.response")');
    expect(await page.$$eval('.row', (nodes) => nodes.length)).toBe(1);
    await page.fill('.filters input', 'nowhere to be found');
    await until(page, "document.querySelector('.list').textContent === 'No record to show.'");
    expect(await axe(page)).toEqual([]);
    await page.keyboard.press('Tab');
    await page.goto(`${inspector.url}#/run/nothing`);
    expect(await page.textContent('[role=alert]')).toContain('There is no run nothing here');
    await expectSound(page);
  });

  it('tells what happened, and leads from there to the records', async () => {
    const page = await open('#/run/honest');
    const told = (await page.textContent('.happened')) ?? '';
    for (const text of ['toy-model', '2023-11-14 22:13:20 UTC', "by the operator's clock", '45 tokens', 'count 1×']) {
      expect(told).toContain(text);
    }
    expect(told).toContain('http.fetch http://evil.test 1×');
    expect(told).toContain('None ofchild runs, payments, questions to a person');
    expect(await page.$$eval('[data-doubt]', (nodes) => nodes.length)).toBe(0);
    expect(await page.textContent('[data-told=input]')).toContain('questionwhat is in the books?');
    const outcome = page.locator('[data-told=outcome]');
    expect(await outcome.textContent()).not.toContain('missing');
    await outcome.getByRole('button', { name: 'Show' }).click();
    expect(await outcome.textContent()).toContain('"missing": null');
    expect(await axe(page)).toEqual([]);
    await page.locator('.names li', { hasText: 'books.test' }).getByRole('link').click();
    await page.waitForSelector('.detail:has-text("http.fetch GET http://books.test") .hashes');
    await until(page, 'document.activeElement.id === "detail"');
    const box = await page.locator('.row.selected').boundingBox();
    expect(box?.y).toBeGreaterThanOrEqual(0);
    expect(box?.y).toBeLessThan(900);
    await page.getByRole('button', { name: 'List the denials' }).click();
    await until(page, "document.querySelector('.filters [role=status]').textContent.startsWith('2 of')");
    await expectSound(page);
  });

  it('tells as a fact nothing that is withheld, false or does not fit', async () => {
    const page = await open(lie());
    expect(await page.textContent('[data-doubt=bad]')).toContain(`Record ${lieStep} is false`);
    expect(await page.textContent('[data-told=outcome] .sign.bad')).toContain(`after record ${lieStep}`);
    await page.goto(`${inspector.url}${fault()}`);
    await page.waitForSelector('h1:has-text("fault-2") ~ .happened');
    expect(await page.textContent('[data-doubt=bad]')).toContain('does not fit');
    expect(await page.textContent('[data-told=outcome]')).toContain('Not known');
    await page.goto(`${inspector.url}#/run/asked`);
    await page.waitForSelector('h1:has-text("asked") ~ .happened');
    expect(await page.textContent('[data-told=input]')).toContain('Withheld');
    expect(await page.textContent('.happened')).not.toContain('what is in the books');
  });

  it('fits at 200 %: no second scroll bar', async () => {
    const page = await open('', { width: 640, height: 450, scale: 2 });
    for (const hash of ['#/', lie(), fault(), '#/run/texts/step/0', '#/run/nothing']) {
      await page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
      const [, , id] = hash.split('/');
      const place =
        id === undefined ? '.runs' : id === 'nothing' ? '[role=alert]' : `h1:has-text("${id}.trace") ~ .happened`;
      await page.waitForSelector(place);
      expect({ hash, fits: await page.evaluate('document.documentElement.scrollWidth <= innerWidth') }).toEqual({
        hash,
        fits: true,
      });
      if (hash === lie()) await page.screenshot({ path: join(SHOTS, 'diverged-zoom.png'), fullPage: true });
    }
  });

  it('skips to the content', async () => {
    const page = await open('#/run/honest');
    await page.evaluate('document.activeElement.blur()');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    expect(await page.evaluate('document.activeElement.id')).toBe('main');
    expect(new URL(page.url()).hash).toBe('#/run/honest');
  });

  type Found = { violations: { id: string; nodes: { html: string }[] }[] };
  /** What axe finds wrong with the page as it is. */
  async function axe(page: Page, rules = ''): Promise<readonly string[]> {
    // The page's own policy holds for its scripts; the test's comes in by the browser's door.
    if (!(await page.evaluate('"axe" in window'))) await page.evaluate(AXE);
    const { violations } = await page.evaluate<Found>(`axe.run(${rules})`);
    return violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`);
  }
  const lie = () => `#/run/lie/step/${lieStep}`;
  const fault = () => `#/run/fault-2/step/${faults[2]?.step}`;
  const CONTRAST = '{ runOnly: ["color-contrast"] }';
  const views: readonly (readonly [name: string, view: View, rules: string, places: () => readonly string[]])[] = [
    ['light', {}, '', () => ['#/run/honest/step/3', lie(), fault(), '#/']],
    // What is looked at by its colours alone is the same in both schemes.
    ['dark', { scheme: 'dark' }, CONTRAST, () => [lie(), fault(), '#/']],
    ['phone', { width: 320, height: 740 }, '', () => [lie(), '#/']],
    ['dark-phone', { width: 390, height: 740, scheme: 'dark' }, CONTRAST, () => ['#/run/honest/step/3', lie()]],
  ];
  it.each(views)('has no violation that axe knows, and no second scroll bar: %s', async (name, view, rules, places) => {
    const page = await open('', view);
    for (const hash of places()) {
      await page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
      const [, , id] = hash.split('/');
      await page.waitForSelector(id === undefined ? '.runs' : `h1:has-text("${id}.trace")`);
      if (id !== undefined) await page.waitForSelector('.detail h4:has-text("Hashes")');
      if (id !== undefined) await page.waitForSelector('.claims');
      expect({ hash, found: await axe(page, rules) }).toEqual({ hash, found: [] });
      expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
      if (hash.includes('lie')) await page.screenshot({ path: join(SHOTS, `diverged-${name}.png`), fullPage: true });
    }
    await expectSound(page);
  });

  it('says that it could not read a file, and calls nothing checked', async () => {
    const path = join(folder, 'gone.trace');
    writeFileSync(path, honest.bytes);
    const page = await open('');
    await page.route('**/api/bundle/gone', (route) => route.abort());
    await page.evaluate("location.hash = '#/run/gone'");
    await page.waitForSelector('[role=alert]');
    expect(await page.textContent('.headline')).toBe('Not checked.');
    expect(await axe(page)).toEqual([]);
    expect(await page.$$eval('[data-claim], .row', (nodes) => nodes.length)).toBe(0);
    rmSync(path);
  });

  it('shows names that are odd, in the title too, and opens them', async () => {
    for (const name of ['.trace', '..trace', 'a\u202eb\n<i>%2f.trace']) {
      const path = join(folder, name);
      writeFileSync(path, honest.bytes.subarray(0, 400));
      const page = await open('');
      await page.locator('.runs a').first().waitFor();
      const names = await page.$$eval('.runs a', (nodes) => nodes.map((node) => node.textContent ?? ''));
      const shown = name.replace('\u202e', 'U+202E').replace('\n', 'U+000A');
      await page.locator('.runs a').nth(names.indexOf(shown)).click();
      await page.waitForSelector('.claims');
      expect(await page.textContent('h1')).toBe(shown);
      expect(await page.title()).not.toMatch(/[\u202e\n]/);
      await context?.close();
      rmSync(path);
    }
  });

  it('opens and scrolls 5,000 records without freezing', async () => {
    const page = await open('#/run/long');
    const count = Number(await page.getAttribute('.row', 'aria-setsize'));
    expect(count).toBeGreaterThanOrEqual(5000);
    expect(await page.$$eval('.row', (nodes) => nodes.length)).toBeLessThan(60);
    for (let i = 1; i <= 25; i++) {
      await page.evaluate(
        `document.querySelector('.list').scrollTop = ${i / 25} * document.querySelector('.canvas').offsetHeight`,
      );
      await page.evaluate('new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)))');
    }
    await page.waitForSelector(`.row[data-index="${count - 1}"]`);
    expect((await levels(page))['checked']).toBe('good');
    await page.locator(`.row[data-index="${count - 1}"]`).click();
    await page.waitForSelector('.checkpoint');
    await page.fill('.filters input', 'kv.put');
    await until(page, `document.querySelectorAll('.row').length > 5`);
    const tasks = await page.evaluate<number[]>('longTasks');
    const longest = Math.max(0, ...tasks);
    console.info(
      `5,000 records: ${tasks.length} long tasks, the longest ${longest} ms; ${await page.textContent('.headline')}`,
    );
    expect(longest).toBeLessThan(200);
    // The watch sees: a task that is long is counted.
    await page.evaluate('setTimeout(() => { for (const end = performance.now() + 260; performance.now() < end; ); })');
    await until(page, 'Math.max(0, ...longTasks) > 200');
    await expectSound(page);
  });

  it('shows what is markup, script or direction in a run as text', async () => {
    const page = await open('#/run/texts/step/0');
    await page.waitForSelector('.payload');
    const total = Number(await page.getAttribute('.row', 'aria-setsize'));
    expect(total).toBeGreaterThan(60);
    const strange = () =>
      page.$$eval('body *', (nodes) => [
        ...new Set(
          nodes
            .map((node) => node.tagName.toLowerCase())
            .filter((tag) =>
              /^(img|script|iframe|object|embed|form|marquee|video|audio|link|meta|style|base|input|svg)$/.test(tag),
            ),
        ),
      ]);
    // What was asked is this, too.
    expect(await page.textContent('[data-told=input]')).toContain('<img src=x onerror=alert(1)>');
    const seen = new Set<string>();
    for (let step = 0; step < total; step += step < 8 ? 1 : 1 + Math.floor(total / 12)) {
      await page.evaluate(`location.hash = '#/run/texts/step/${step}'`);
      await page.waitForSelector(`.detail:has-text("Record ${step}:") .hashes`);
      for (const tag of await strange()) seen.add(tag);
    }
    // The page's own: the field of the filter, its signs.
    expect([...seen].sort()).toEqual(['input', 'svg']);
    await page.evaluate("location.hash = '#/run/texts/step/0'");
    await page.waitForSelector('.payload');
    const input = await page.textContent('.payload:has-text("body.input") .said');
    for (const text of HOSTILE.filter((one) => !/[\u200B\u202C\u202E"]/.test(one))) expect(input).toContain(text);
    expect(input).toContain('U+202EevilU+202C');
    expect(input).toContain('zeroU+200Bwidth');
    expect(await page.textContent('.detail')).not.toMatch(/[\u202A-\u202E\u2066-\u2069\u200B]/);
    await expectSound(page);
  });
});

/** Waits for an expression to hold; the library's own way is an `eval`, which the page's policy refuses. */
async function until(page: Page, expression: string): Promise<void> {
  for (const end = Date.now() + 10_000; !(await page.evaluate(expression)); ) {
    if (Date.now() > end) throw new Error(`never came true: ${expression}`);
    await new Promise((next) => setTimeout(next, 20));
  }
}

function asSourced(report: VerifyReport | undefined, source: SourcedReport['source']): SourcedReport | undefined {
  return report === undefined ? undefined : { report, source };
}

/** The Big List of Naughty Strings, where it is at hand. */
function blns(): readonly string[] {
  const path = vectorsDir();
  if (path === undefined) {
    console.warn('SKIPPED: third-party vectors "blns" are not here (set TRACEBOND_VECTORS)');
    return [];
  }
  return JSON.parse(readFileSync(join(path, 'blns/blns.json'), 'utf8')) as string[];
}
