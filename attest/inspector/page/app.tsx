/**
 * The frame of the page: the list of runs, or one run.
 *
 * @module
 */

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { BundleEntry } from '../bundles.ts';
import { visibleText } from '../visible-text.ts';
import { linkTo, useRoute } from './route.ts';
import { RunView } from './run-view.tsx';
import { fetchListing, type Listing } from './server-client.ts';
import { Name, sizeText } from './text.tsx';

/** The page. */
export function App(): JSX.Element {
  const { id, step } = useRoute();
  const [listing, setListing] = useState<Listing>();
  const [trouble, setTrouble] = useState<string>();
  useEffect(() => {
    fetchListing().then(setListing, (error: unknown) => setTrouble(String(error)));
  }, [id]);
  useEffect(() => {
    document.title = id === undefined ? 'Tracebond inspector' : `${visibleText(id, 80)} · Tracebond inspector`;
  }, [id]);
  const single = listing?.bundles.length === 1 ? listing.bundles[0]?.id : undefined;
  const shown = id ?? single;
  return (
    <>
      <button type="button" class="skip" onClick={skip}>
        Skip to the content
      </button>
      <header class="top">
        <a class="brand" href={linkTo({})}>
          Tracebond inspector
        </a>
        <p>Everything is read from this computer; nothing leaves it.</p>
      </header>
      <main id="main" tabIndex={-1}>
        {trouble !== undefined && (
          <p class="trouble" role="alert">
            {trouble}
          </p>
        )}
        {listing !== undefined && shown === undefined && <RunList bundles={listing.bundles} />}
        {listing !== undefined && shown !== undefined && (
          <Shown listing={listing} id={shown} {...(step === undefined ? {} : { step })} />
        )}
        {listing === undefined && trouble === undefined && <p role="status">Reading the list of runs …</p>}
      </main>
    </>
  );
}

function Shown({ listing, id, step }: { readonly listing: Listing; readonly id: string; readonly step?: number }) {
  const entry = listing.bundles.find((bundle) => bundle.id === id);
  if (entry === undefined) {
    return (
      <p class="trouble" role="alert">
        There is no run <Name text={id} /> here. <a href={linkTo({})}>All runs</a>
      </p>
    );
  }
  return (
    <RunView
      key={id}
      entry={entry}
      canVerify={listing.canVerify}
      hasList={listing.bundles.length > 1}
      {...(step === undefined ? {} : { step })}
    />
  );
}

function RunList({ bundles }: { readonly bundles: readonly BundleEntry[] }) {
  return (
    <section aria-labelledby="runs">
      <h1 id="runs">Runs</h1>
      <p>
        {bundles.length} {bundles.length === 1 ? 'file' : 'files'} in this folder. Each holds what one run of an agent
        did. Nothing here is checked yet: a run is checked in your browser when you open it.
      </p>
      <ul class="runs">
        {bundles.map((bundle) => (
          <li key={bundle.id}>
            <a href={linkTo({ id: bundle.id })}>
              <Name text={bundle.name} />
            </a>
            <span class="soft">
              {sizeText(bundle.bytes)}, {new Date(bundle.modified).toLocaleString()}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** No link: what follows `#` in the address names a run. */
function skip(): void {
  document.getElementById('main')?.focus();
}
