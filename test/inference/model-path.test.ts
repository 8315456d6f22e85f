import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ModelPathError, modelFolder, resolveModelPath, SHIPPED_MODEL } from '../../inference/model-path.ts';
import { temporaryFolder } from '../support/temporary.ts';

/** A sparse file: the length counts, not the content. */
function fileOf(path: string, sizeBytes: number): string {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  return path;
}

function codeOf(nameOrPath: string, env: Record<string, string>, home: string): string {
  try {
    return resolveModelPath(nameOrPath, env, home).path;
  } catch (error) {
    return error instanceof ModelPathError ? `${error.code}: ${error.message}` : String(error);
  }
}

it('finds the shipped model in the cache', () => {
  const home = temporaryFolder();
  const path = fileOf(join(modelFolder({}, home), SHIPPED_MODEL.file), SHIPPED_MODEL.sizeBytes);
  expect(resolveModelPath('smollm2-135m-instruct', {}, home)).toEqual({ id: 'smollm2-135m-instruct', path });
});

it('prefers TRACEBOND_MODEL, and does not fall back from it', () => {
  const home = temporaryFolder();
  fileOf(join(modelFolder({}, home), SHIPPED_MODEL.file), SHIPPED_MODEL.sizeBytes);
  const own = fileOf(join(home, 'own.gguf'), SHIPPED_MODEL.sizeBytes);
  expect(codeOf(SHIPPED_MODEL.id, { TRACEBOND_MODEL: own }, home)).toBe(own);
  expect(codeOf(SHIPPED_MODEL.id, { TRACEBOND_MODEL: join(home, 'no') }, home)).toMatch(
    /^MODEL_MISSING: .*TRACEBOND_MODEL/,
  );
});

it('says how to fetch the shipped model', () => {
  expect(codeOf(SHIPPED_MODEL.id, {}, temporaryFolder())).toMatch(
    /^MODEL_MISSING: .*tracebond models pull smollm2-135m-instruct/,
  );
});

it('refuses a shipped model of another length, and a folder in its place', () => {
  const home = temporaryFolder();
  const path = join(modelFolder({}, home), SHIPPED_MODEL.file);
  fileOf(path, SHIPPED_MODEL.sizeBytes - 1);
  expect(codeOf(SHIPPED_MODEL.id, {}, home)).toMatch(/^MODEL_DAMAGED: .*98362431 bytes, expected 98362432/);
  expect(codeOf(SHIPPED_MODEL.id, { TRACEBOND_MODEL: home }, home)).toMatch(/^MODEL_MISSING/);
});

it('takes any other model by its path and names it after its file', () => {
  const home = temporaryFolder();
  const path = fileOf(join(home, 'tiny.Q8_0.gguf'), 5);
  expect(resolveModelPath(path, {}, home)).toEqual({ id: 'tiny.Q8_0', path });
  expect(codeOf(join(home, 'gone.gguf'), {}, home)).toMatch(/^MODEL_MISSING/);
  expect(codeOf('gone-here.gguf', {}, home)).toMatch(/^MODEL_MISSING/);
});

it('takes a folder with a config.json, and no other folder', () => {
  const home = temporaryFolder();
  fileOf(join(home, 'Qwen3-0.6B', 'config.json'), 5);
  mkdirSync(join(home, 'empty', 'config.json'), { recursive: true });
  const path = join(home, 'Qwen3-0.6B');
  expect(resolveModelPath(path, {}, home)).toEqual({ id: 'Qwen3-0.6B', path });
  expect(resolveModelPath(`${path}/`, {}, home)).toEqual({ id: 'Qwen3-0.6B', path });
  expect(codeOf(home, {}, home)).toMatch(/^MODEL_MISSING/);
  expect(codeOf(join(home, 'empty'), {}, home)).toMatch(/^MODEL_MISSING/);
});

it.each(['', 'smollm2', 'SMOLLM2-135M-INSTRUCT', '../'])('refuses the name %j', (name) => {
  expect(codeOf(name, {}, temporaryFolder())).toMatch(
    name === '../' ? /^MODEL_MISSING/ : /^UNKNOWN_MODEL: .*smollm2-135m-instruct/,
  );
});
