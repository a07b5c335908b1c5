/**
 * A named set of keys, created on first write. A delivery sees its own writes at once, everyone else
 * once it is acknowledged. Reading, changing and writing needs no lock: if another delivery changed
 * what this one read, the host drops what this one did and delivers the event again.
 */
export interface Bucket {
  /** The value of a key; undefined if there is none. */
  get(key: string): Uint8Array | undefined;
  /** Sets a key. At most 64 KiB. */
  set(key: string, value: Uint8Array): void;
  /** Removes a key; no-op if there is none. */
  delete(key: string): void;
  getText(key: string): string | undefined;
  setText(key: string, value: string): void;
  getJson(key: string): any;
  setJson(key: string, value: unknown): void;
  /** Adds to the decimal number at a key, which begins with 0; returns the sum. */
  increment(key: string, delta?: number): number;
  /** All keys, in ascending order. */
  keys(): string[];
}

/** Opens a bucket. One handle is kept for each name: opening it again costs nothing. */
export function bucket(name?: string): Bucket;
