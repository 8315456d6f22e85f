import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

type Entry = { readonly version?: string; readonly optionalDependencies?: Readonly<Record<string, string>> };

const read = (name: string) => JSON.parse(readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8'));
const { packages } = read('package-lock.json') as { packages: Readonly<Record<string, Entry>> };

describe('the lockfile', () => {
  it('names every optional package of every platform, as npm 11 asks of a lockfile', () => {
    const missing = Object.entries(packages).flatMap(([path, entry]) =>
      Object.keys(entry.optionalDependencies ?? {}).filter(
        (name) => !(`node_modules/${name}` in packages) && !(`${path}/node_modules/${name}` in packages),
      ),
    );
    expect(missing).toEqual([]);
  });

  it('pins exactly what package.json names', () => {
    const manifest = read('package.json') as Record<string, Record<string, string>>;
    for (const [name, version] of Object.entries({ ...manifest['dependencies'], ...manifest['devDependencies'] })) {
      const exact = version.startsWith('npm:') ? version.slice(version.lastIndexOf('@') + 1) : version;
      expect(exact, name).toMatch(/^\d+\.\d+\.\d+$/);
      expect(packages[`node_modules/${name}`]?.version, name).toBe(exact);
    }
  });
});
