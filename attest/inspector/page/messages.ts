/**
 * What the page and its worker tell each other.
 *
 * @module
 */

import type { BundleCheck } from '../bundle-check.ts';
import type { RecordDetail } from '../record-detail.ts';
import type { Row } from '../row.ts';
import type { Found } from '../search.ts';

/** From the page. */
export type Question =
  | { readonly type: 'check'; readonly url: string }
  | { readonly type: 'detail'; readonly index: number }
  /** Ends the search before it; an empty text is not looked for. */
  | { readonly type: 'search'; readonly text: string };

/** From the worker; `failed` is a fault of the page or of this computer, never of the bundle. */
export type Answer =
  | { readonly type: 'rows'; readonly rows: readonly Row[] }
  | { readonly type: 'checked'; readonly check: BundleCheck }
  | { readonly type: 'detail'; readonly detail: RecordDetail }
  | { readonly type: 'found'; readonly text: string; readonly found: Found }
  | { readonly type: 'failed'; readonly message: string };
