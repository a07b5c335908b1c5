/** Files addressed by their digest (capability `blobs`); documented in usher.d.ts. */

import { put as write, get as read, delete as drop } from 'usher:plugin/blobs@0.1.0';

import { called } from './usher.js';

export const put = (content, contentType) => called(() => write(content, contentType));
export const get = (digest) => {
  const found = called(() => read(digest));
  if (!found) return undefined;
  return { digest: found.info.digest, contentType: found.info.contentType, content: found.content };
};
export const remove = (digest) => called(() => drop(digest));
