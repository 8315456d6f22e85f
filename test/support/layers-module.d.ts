/**
 * Types of the plain-JavaScript module of `test/layers/`, for its tests.
 *
 * @module
 */

declare module '*/layers/run.mjs' {
  export function checkLayers(
    root: string,
    rules?: string,
  ): Promise<{
    readonly modules: number;
    readonly violations: readonly { readonly rule: string; readonly from: string; readonly to: string }[];
  }>;
}
