/** Settings and secrets (capabilities `config` and `secrets`); documented in usher.d.ts. */

import { get as read, getAll } from 'wasi:config/store@0.2.0-draft';

import { Retry, called } from './usher.js';

export const get = (key, fallback) => called(() => read(key)) ?? fallback;

export function require(key) {
  const value = get(key);
  if (value === undefined) throw new Retry(`the setting ${key} is missing`);
  return value;
}

export const all = () => Object.fromEntries(called(() => getAll()));
