/** A blob with its content. */
export interface Blob {
  readonly digest: string;
  readonly contentType: string;
  readonly content: Uint8Array;
}

/** Stores content, visible once the delivery is acknowledged; returns its digest. */
export function put(content: Uint8Array, contentType: string): string;
/** The blob of a digest, whichever plugin put it. */
export function get(digest: string): Blob | undefined;
/** Drops this plugin's reference to a blob. */
export function remove(digest: string): void;
