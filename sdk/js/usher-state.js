/** The plugin's own keys and values (capability `state`); documented in usher.d.ts. */

import { open } from 'wasi:keyvalue/store@0.2.0-draft2';
import { increment } from 'wasi:keyvalue/atomics@0.2.0-draft2';

import { called, decode, encode, long } from './usher.js';

/**
 * Handles, one for each name and instance: JavaScript gives none back by itself, so that one opened
 * at each delivery would add up to the limit.
 */
const open_buckets = new Map();

export function bucket(name = '') {
  let handle = open_buckets.get(name);
  if (handle === undefined) {
    handle = called(() => open(name));
    open_buckets.set(name, handle);
  }
  const text = (key) => {
    const bytes = called(() => handle.get(key));
    return bytes === undefined || bytes === null ? undefined : decode(bytes);
  };
  return {
    get: (key) => called(() => handle.get(key)) ?? undefined,
    set: (key, value) => called(() => handle.set(key, value)),
    delete: (key) => called(() => handle.delete(key)),
    getText: text,
    setText: (key, value) => called(() => handle.set(key, encode(value))),
    getJson: (key) => {
      const found = text(key);
      return found === undefined ? undefined : JSON.parse(found);
    },
    setJson: (key, value) => called(() => handle.set(key, encode(JSON.stringify(value)))),
    increment: (key, delta = 1) => Number(called(() => increment(handle, key, long(delta)))),
    keys: () => {
      const keys = [];
      let cursor;
      do {
        const page = called(() => handle.listKeys(cursor));
        keys.push(...page.keys);
        cursor = page.cursor ?? undefined;
      } while (cursor !== undefined);
      return keys;
    },
  };
}
