/**
 * What the page asks its server.
 *
 * @module
 */

import type { BundleEntry } from '../bundles.ts';
import { parseReport, type SourcedReport } from '../report.ts';
import { fields } from '../row.ts';

/** The bundles that may be looked at. */
export type Listing = { readonly bundles: readonly BundleEntry[]; readonly canVerify: boolean };

/** Address of a bundle's bytes. */
export function bundleUrl(id: string): string {
  return new URL(`api/bundle/${encodeURIComponent(id)}`, document.baseURI).href;
}

/** The bundles that the server shows. */
export async function fetchListing(): Promise<Listing> {
  return (await ask('api/bundles')) as Listing;
}

/** The report that the server has of a bundle, if it has one. */
export async function fetchReport(id: string): Promise<SourcedReport | undefined> {
  return toReport(await ask(`api/report/${encodeURIComponent(id)}`));
}

/** Has a bundle executed again on this computer. */
export async function executeAgain(id: string): Promise<SourcedReport | undefined> {
  return toReport(await ask(`api/verify/${encodeURIComponent(id)}`, { method: 'POST' }));
}

function toReport(answer: unknown): SourcedReport | undefined {
  const { report } = fields(answer);
  if (report === null || report === undefined) return undefined;
  const { source, report: inner } = fields(report);
  return { source: source === 'here' ? 'here' : 'file', report: parseReport(inner) };
}

async function ask(path: string, init: RequestInit = {}): Promise<unknown> {
  const response = await fetch(new URL(path, document.baseURI), init);
  const answer: unknown = await response.json();
  if (!response.ok) {
    const error = fields(fields(answer)['error']);
    throw new Error(`${String(error['code'] ?? response.status)}: ${String(error['message'] ?? '')}`);
  }
  return answer;
}
