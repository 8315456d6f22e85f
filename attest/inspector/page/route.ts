/**
 * What the address names: `#/`, `#/run/ID`, `#/run/ID/step/N`.
 *
 * @module
 */

import { useEffect, useState } from 'preact/hooks';

/** A place of the page. */
export type Route = { readonly id?: string; readonly step?: number };

/** Reads the part of an address after `#`; what is no place is the list. */
export function parseRoute(hash: string): Route {
  const [, part, step] = /^#\/run\/([^/]+)(?:\/step\/(\d{1,9}))?$/.exec(hash) ?? [];
  if (part === undefined) return {};
  try {
    const id = decodeURIComponent(part);
    return step === undefined ? { id } : { id, step: Number(step) };
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    return {};
  }
}

/** The address of a place. */
export function linkTo({ id, step }: Route): string {
  if (id === undefined) return '#/';
  const run = `#/run/${encodeURIComponent(id)}`;
  return step === undefined ? run : `${run}/step/${step}`;
}

/** Goes to a place without a new entry of the history: moving through a list is no journey. */
export function replaceRoute(route: Route): void {
  history.replaceState(null, '', linkTo(route));
  window.dispatchEvent(new HashChangeEvent('hashchange'));
}

/** The place that the address names now. */
export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const onChange = () => setRoute(parseRoute(location.hash));
    window.addEventListener('hashchange', onChange);
    return () => window.removeEventListener('hashchange', onChange);
  }, []);
  return route;
}
