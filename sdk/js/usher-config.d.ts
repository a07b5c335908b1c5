/** A setting, or a secret that is granted; `fallback` if it isn't set. */
export function get(key: string, fallback: string): string;
export function get(key: string): string | undefined;
/** A setting. Throws Retry without it: an operator can still add it. */
export function require(key: string): string;
/** All settings; secrets are not among them. */
export function all(): Record<string, string>;
