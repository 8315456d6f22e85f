/**
 * The script that prepares a fresh guest before any of its code runs: it removes what is not deterministic, seeds
 * `Math.random`, and holds the guest's end of the host protocol. Part of the engine's identity.
 *
 * Everything it needs later is taken into its closure first, so that guest code which changes built-ins harms itself only;
 * and the host trusts none of it, see `guest-session.ts`.
 *
 * @module
 */

import { MAX_COMPLETION_DEPTH, MAX_VALUE_DEPTH } from './values.ts';

/** Greatest length in UTF-16 units of an error message of the guest; the host cuts it to 2 KiB of UTF-8. */
const MAX_MESSAGE_UNITS = 2048;
/** Greatest length in UTF-16 units of a console line. */
const MAX_LINE_UNITS = 4096;

/**
 * A function expression of `(sys, emit, random)`:
 * `sys(id, method, args)` makes a host call, `emit(kind, json)` reports `log`, `done` or `fail`, `random` is a JSON array of
 * four 32-bit words. It returns `(operation, a, b, c)`: `start(entry, input)`, `deliver(id, 'ok' | 'failed', json)`, all of
 * them texts, `complete(value)`, which reports what a script ended with, and `describe(exception)`, which reports `fail` for
 * an exception that the host holds.
 */
export const GUEST_PRELUDE = `(function (sys, emit, random) {
'use strict';
const { parse, stringify } = JSON;
const { isArray } = Array;
const { isFinite, isSafeInteger } = Number;
const { getPrototypeOf, keys, prototype: objectPrototype } = Object;
const { toString: tag } = objectPrototype;
const { apply } = Reflect;
const { toWellFormed, slice } = String.prototype;
const { join } = Array.prototype;
const { then } = Promise.prototype;
const { test } = RegExp.prototype;
const { add, delete: remove, has } = Set.prototype;
const Text = String, Failure = Error, Type = TypeError, Syntax = SyntaxError, Internal = InternalError, Future = Promise, Members = Set;
const globals = globalThis;

for (const name of ['SharedArrayBuffer', 'Atomics', 'WebAssembly', 'WeakRef', 'FinalizationRegistry']) delete globals[name];

let [s0, s1, s2, s3] = parse(random);
const word = () => {
  const x = s1 * 5;
  const out = ((x << 7) | (x >>> 25)) * 9 >>> 0;
  const t = s1 << 9;
  s2 ^= s0; s3 ^= s1; s1 ^= s2; s0 ^= s3; s2 ^= t;
  s3 = (s3 << 11) | (s3 >>> 21);
  return out;
};
Math.random = function random() { return ((word() >>> 5) * 67108864 + (word() >>> 6)) / 9007199254740992; };

const refuse = (code, message) => {
  const error = new Failure(message);
  error.code = code;
  return error;
};
const quote = (text) => stringify(apply(toWellFormed, text, []));
const plainKey = /^[A-Za-z_$][A-Za-z0-9_$]*$/;
// For a completion value, numbers may be fractions, objects of any class without a form of its own count by their members, and
// nesting may be deeper.
const encode = (value, code, completion) => {
  const parts = [], path = [], holders = new Members();
  const deepest = completion ? ${MAX_COMPLETION_DEPTH} : ${MAX_VALUE_DEPTH};
  let count = 0;
  // The place of the value that is being written, told only when it is refused.
  const deny = (depth, what) => {
    let at = '$';
    for (let i = 0; i < depth; i++) {
      const name = path[i];
      if (typeof name === 'number') at += '[' + name + ']';
      else at += apply(test, plainKey, [name]) ? '.' + name : '[' + quote(name) + ']';
    }
    return refuse(code, at + what);
  };
  const write = (value, depth) => {
    if (typeof value === 'object' && value !== null && typeof value.toJSON === 'function') value = value.toJSON('');
    switch (typeof value) {
      case 'string': parts[count++] = quote(value); return;
      case 'boolean': parts[count++] = value ? 'true' : 'false'; return;
      case 'number':
        if (completion && !isFinite(value)) throw deny(depth, ' is ' + Text(value) + ', which is no JSON');
        if (!completion && !isSafeInteger(value)) throw deny(depth, ' is ' + Text(value) + ', not a safe integer; write a fraction as text');
        parts[count++] = Text(value);
        return;
      case 'object': break;
      default: throw deny(depth, ' is ' + typeof value + ', which is no JSON');
    }
    if (value === null) { parts[count++] = 'null'; return; }
    if (apply(has, holders, [value])) throw deny(depth, ' holds itself');
    if (depth >= deepest) throw refuse(code, 'value nests deeper than ' + deepest + ' levels');
    apply(add, holders, [value]);
    if (isArray(value)) {
      const { length } = value;
      parts[count++] = '[';
      for (let i = 0; i < length; i++) {
        if (i > 0) parts[count++] = ',';
        path[depth] = i;
        write(value[i], depth + 1);
      }
      parts[count++] = ']';
      apply(remove, holders, [value]);
      return;
    }
    const prototype = getPrototypeOf(value);
    if (prototype !== null && prototype !== objectPrototype && !(completion && apply(tag, value, []) === '[object Object]')) {
      throw deny(depth, ' is an object of a class, not a plain one');
    }
    parts[count++] = '{';
    let first = true;
    const names = keys(value);
    for (let i = 0; i < names.length; i++) {
      const name = names[i], item = value[name];
      if (item === undefined) continue;
      if (!first) parts[count++] = ',';
      first = false;
      parts[count++] = quote(name);
      parts[count++] = ':';
      path[depth] = name;
      write(item, depth + 1);
    }
    parts[count++] = '}';
    apply(remove, holders, [value]);
  };
  write(value, 0);
  return apply(join, parts, ['']);
};

const describe = (error) => {
  let code = 'TOOL_ERROR', message;
  try {
    if (error instanceof Internal && error.message === 'out of memory') code = 'MEMORY_LIMIT', message = 'out of memory';
    else if ((error instanceof Internal || error instanceof Syntax) && error.message === 'stack overflow') code = 'STACK_EXHAUSTED', message = 'stack overflow';
    else if (typeof error === 'object' && error !== null) {
      const kind = error.code;
      message = error.message === undefined ? 'thrown: ' + format(error) : Text(error.message);
      if (kind === 'INPUT_INVALID' || kind === 'OUTPUT_INVALID') code = kind;
      else if (typeof kind === 'string') message = kind + ': ' + message;
      else if (typeof error.name === 'string' && error.name !== 'Error') message = error.name + ': ' + message;
    } else message = Text(error);
    message = apply(slice, message, [0, ${MAX_MESSAGE_UNITS}]);
  } catch {
    message = 'a value that cannot be read was thrown';
  }
  return '{"code":"' + code + '","message":' + quote(message) + '}';
};

const format = (value) => {
  if (typeof value === 'string') return value;
  try { return encode(value, 'TOOL_ERROR', false); } catch {}
  try { return Text(value); } catch {}
  return '(unprintable)';
};
const print = (...values) => {
  let line = '';
  for (let i = 0; i < values.length; i++) line += (i > 0 ? ' ' : '') + format(values[i]);
  emit('log', quote(apply(slice, line, [0, ${MAX_LINE_UNITS}])));
};
globals.console = { debug: print, error: print, info: print, log: print, warn: print };

const open = { __proto__: null };
const methodName = /^[a-z][a-z0-9._]{0,63}$/;
let next = 0;
const call = (method, args) => new Future((resolve, reject) => {
  if (typeof method !== 'string' || !apply(test, methodName, [method])) throw new Type('malformed name of a host method');
  const text = encode(args, 'INPUT_INVALID', false);
  const id = next++;
  open[id] = { resolve, reject };
  sys(Text(id), method, text);
});

const settle = (result, completion) => apply(then, result, [
  (value) => {
    let text;
    try { text = encode(value, 'OUTPUT_INVALID', completion); } catch (error) { emit('fail', describe(error)); return; }
    emit('done', text);
  },
  (error) => emit('fail', describe(error)),
]);

return (operation, a, b, c) => {
  if (operation === 'deliver') {
    const { resolve, reject } = open[a];
    delete open[a];
    const value = parse(c);
    if (b === 'ok') resolve(value);
    else reject(refuse(value.code, value.message));
    return;
  }
  if (operation === 'describe') {
    emit('fail', describe(a));
    return;
  }
  if (operation === 'complete') {
    settle(new Future((resolve) => resolve(a)), true);
    return;
  }
  const bundle = globals.__tracebond;
  if (typeof bundle !== 'object' || bundle === null || typeof bundle.run !== 'function') {
    emit('fail', describe(new Type('the script sets no globalThis.__tracebond')));
    return;
  }
  delete globals.__tracebond;
  settle(new Future((resolve) => resolve(bundle.run(parse(a), parse(b), call))), false);
};
})`;
