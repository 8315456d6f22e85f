/**
 * What a campaign is: very many seeded cases of one property, more than `npm test` has time for.
 *
 * @module
 */

export type CampaignOptions = { readonly seed: number; readonly count: number };

/** `failures`: one line each, with what is needed to run that case again. */
export type CampaignResult = { readonly cases: number; readonly failures: readonly string[]; readonly summary: string };

/** The function `run` of every `test/campaign/NAME.ts`. */
export type Campaign = (options: CampaignOptions) => Promise<CampaignResult>;
