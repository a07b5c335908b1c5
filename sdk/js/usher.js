/**
 * For Usher listeners in JavaScript and TypeScript; types and documentation are in usher.d.ts.
 *
 * Works on both engines that jco offers. They differ: StarlingMonkey passes 64-bit numbers as
 * BigInt, QuickJS as numbers; an absent option is undefined here, null there; QuickJS has neither TextEncoder nor console, and its Math.random is
 * seeded when the component is built.
 */

import { log as write } from 'wasi:logging/logging@0.1.0-draft';
import { getRandomU64 } from 'wasi:random/random@0.2.12';

/** Fails a delivery for now: it is tried again. */
export class Retry extends Error {
  constructor(reason, afterMs) {
    super(reason);
    this.name = 'Retry';
    this.afterMs = afterMs;
  }
}

/** Fails a delivery for good: its event becomes a dead letter at once. */
export class Reject extends Error {
  constructor(reason) {
    super(reason);
    this.name = 'Reject';
  }
}

export const exact = (attributes) => ({ exact: attributes });
export const prefix = (attributes) => ({ prefix: attributes });
export const suffix = (attributes) => ({ suffix: attributes });
export const eventType = (type) => exact({ type });
export const all = (...filters) => ({ all: filters });
export const any = (...filters) => ({ any: filters });
export const not = (filter) => ({ not: filter });

export const log = {
  debug: (line) => write('debug', '', String(line)),
  info: (line) => write('info', '', String(line)),
  warn: (line) => write('warn', '', String(line)),
  error: (line) => write('error', '', String(line)),
};

/** Whether the engine passes 64-bit numbers as BigInt; known once a delivery was seen. */
export const engine = { isBig: false };

/** A 64-bit number as the engine wants it. */
export const long = (number) => (engine.isBig ? BigInt(Math.trunc(number)) : Math.trunc(number));

/** Text as UTF-8; lone surrogates become U+FFFD. */
export function encode(text) {
  const bytes = [];
  for (const character of text) {
    let code = character.codePointAt(0);
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
    else if (code < 0x10000) {
      bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    } else {
      bytes.push(
        0xf0 | (code >> 18),
        0x80 | ((code >> 12) & 63),
        0x80 | ((code >> 6) & 63),
        0x80 | (code & 63),
      );
    }
  }
  return new Uint8Array(bytes);
}

/** UTF-8 as text; undefined if it isn't UTF-8. */
export function decode(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at++];
    if (first < 0x80) {
      text += String.fromCharCode(first);
      continue;
    }
    const more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc2 ? 1 : -1;
    if (more < 0 || first > 0xf4 || at + more > bytes.length) return undefined;
    let code = first & (63 >> more);
    for (let left = more; left > 0; left--) {
      const next = bytes[at++];
      if ((next & 0xc0) !== 0x80) return undefined;
      code = (code << 6) | (next & 63);
    }
    const least = [0, 0x80, 0x800, 0x10000][more];
    if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return undefined;
    text += String.fromCodePoint(code);
  }
  return text;
}

/** An error of an import, in words. */
export function words(error) {
  const cause = error?.payload ?? error;
  if (typeof cause === 'string') return cause;
  if (cause?.tag === 'access-denied') return 'state is not granted: the operator has to add state = true';
  const detail = cause?.val ?? cause?.message ?? cause;
  return typeof detail === 'string' ? detail : JSON.stringify(detail);
}

/** Calls an import; its error becomes a Retry with the host's words. */
export function called(call) {
  try {
    return call();
  } catch (error) {
    if (error instanceof Retry || error instanceof Reject) throw error;
    throw new Retry(words(error));
  }
}

class Event {
  constructor(raw) {
    const { extensions, ...attributes } = raw;
    // What is absent is null on QuickJS, undefined on StarlingMonkey.
    for (const [name, value] of Object.entries(attributes)) this[name] = value ?? undefined;
    this.extensions = Object.fromEntries(extensions.map(({ name, value }) => [name, value.val]));
  }

  text() {
    const text = decode(this.data ?? []);
    if (text === undefined) throw new Reject(`the data of ${this.type} is no UTF-8`);
    return text;
  }

  json() {
    if (this.data === undefined) return null;
    const text = this.text();
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new Reject(`the data of ${this.type} is no JSON: ${error.message}`);
    }
  }
}

function value(name, value) {
  if (typeof value === 'boolean') return { tag: 'boolean', val: value };
  if (typeof value === 'number') return { tag: 'integer', val: value };
  if (typeof value === 'string') return { tag: 'text', val: value };
  if (ArrayBuffer.isView(value)) return { tag: 'binary', val: value };
  if (value?.tag) return value;
  throw new TypeError(`the extension ${name} is no boolean, number, string or bytes`);
}

function emission(given) {
  const { type, subject, data, contentType, dataschema, extensions = {}, delayMs } = given;
  const isBytes = ArrayBuffer.isView(data);
  const isJson = data !== undefined && !isBytes;
  return {
    type,
    subject,
    datacontenttype: contentType ?? (isJson ? 'application/json' : undefined),
    dataschema,
    extensions: Object.entries(extensions).map(([name, given]) => ({ name, value: value(name, given) })),
    data: isJson ? encode(JSON.stringify(data)) : data,
    delayMs: delayMs === undefined ? undefined : long(delayMs),
  };
}

/** What the contract calls a failure, where the bindings look for it. */
function failure(tag, val) {
  return Object.assign(new Error(tag), { payload: { tag, val } });
}

/** `Math.random` with the host's numbers: 53 bits. */
function random() {
  return Number(BigInt.asUintN(64, BigInt(getRandomU64())) >> 11n) / 2 ** 53;
}

export function plugin(given) {
  const { name, version, summary, subscriptions, wants = {}, maxInFlight = {}, handle } = given;
  return {
    describe: () => ({
      name,
      version,
      summary,
      subscriptions: Object.entries(subscriptions).map(([name, filter]) => ({
        name,
        filter: JSON.stringify(filter),
        maxInFlight: maxInFlight[name],
      })),
      capabilities: Object.entries(wants).map(([name, reason]) => ({ name, reason })),
    }),

    handle(raw) {
      engine.isBig = typeof raw.sequence === 'bigint';
      Math.random = random;
      const delivery = {
        ...raw,
        event: new Event(raw.event),
        sequence: Number(raw.sequence),
        deadlineMs: Number(raw.deadlineMs),
      };
      const done = (emissions) => (emissions ?? []).map(emission);
      const failed = (error) => {
        if (error instanceof Reject) throw failure('reject', error.message);
        if (error instanceof Retry) {
          const afterMs = error.afterMs === undefined ? undefined : long(error.afterMs);
          throw failure('retry', { reason: error.message, afterMs });
        }
        // The bindings end the instance with these words; the author's line is in the stack.
        throw new Error(`${error}\n${error?.stack ?? ''}`);
      };
      let answer;
      try {
        answer = handle(delivery);
        if (typeof answer?.then !== 'function') return done(answer);
      } catch (error) {
        failed(error);
      }
      // Awaited by StarlingMonkey. Components on QuickJS are built without async.
      if (!engine.isBig) failed(new Error('handle returned a promise, which needs StarlingMonkey'));
      return answer.then(done).catch(failed);
    },
  };
}
