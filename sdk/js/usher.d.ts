/** A filter of the CloudEvents Subscriptions API 1.0. */
export type Filter = Record<string, unknown>;

/** The value of an extension attribute; integers have 32 bits. */
export type Attribute = boolean | number | string | Uint8Array;

/** A CloudEvent. */
export interface Event {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject?: string;
  readonly time?: string;
  readonly datacontenttype?: string;
  readonly dataschema?: string;
  readonly extensions: Readonly<Record<string, Attribute>>;
  readonly data?: Uint8Array;
  /** The data, parsed from JSON; null without data. Throws Reject if it isn't JSON. */
  json(): any;
  /** The data as UTF-8. Throws Reject if it isn't. */
  text(): string;
}

/** One attempt to deliver an event to a subscription. */
export interface Delivery {
  readonly event: Event;
  readonly subscription: string;
  /** Number of this attempt, from 1. */
  readonly attempt: number;
  /** The event's position in the log. */
  readonly sequence: number;
  /** When the host aborts the call: milliseconds since 1970-01-01 UTC. */
  readonly deadlineMs: number;
  readonly replay: boolean;
}

/** An event to emit. The host sets its id, source, time and where it came from. */
export interface Emission {
  type: string;
  subject?: string;
  /** Written as JSON, unless it is bytes; then `contentType` says what they are. */
  data?: unknown;
  contentType?: string;
  dataschema?: string;
  extensions?: Record<string, Attribute>;
  /** Delays the append to the log, up to 30 days: timers are made of it. */
  delayMs?: number;
}

/** What a plugin is and what it requests. Requesting grants nothing: the operator does. */
export interface Plugin {
  name: string;
  version: string;
  summary: string;
  /** Filters, by the subscription's name. */
  subscriptions: Record<string, Filter>;
  /** Capabilities (config, secrets, state, blobs, http), each with the reason. */
  wants?: Record<string, string>;
  /** Deliveries in flight at most, by subscription. */
  maxInFlight?: Record<string, number>;
  /**
   * Handles one delivery. What it returns is committed with all it wrote to state and blobs. Throw
   * Retry or Reject to fail: nothing is kept then. Any other error is retried, too. Promises are
   * awaited by StarlingMonkey only.
   */
  handle(delivery: Delivery): Emission[] | void | Promise<Emission[] | void>;
}

/** The listener that a component exports: `export const listener = plugin({ ... })`. */
export function plugin(plugin: Plugin): object;

/** Fails a delivery for now: it is tried again, not before `afterMs` have passed. */
export class Retry extends Error {
  constructor(reason: string, afterMs?: number);
}

/** Fails a delivery for good: its event becomes a dead letter at once. */
export class Reject extends Error {
  constructor(reason: string);
}

/** Events whose attributes equal these. */
export function exact(attributes: Record<string, string>): Filter;
/** Events whose attributes begin with these. */
export function prefix(attributes: Record<string, string>): Filter;
/** Events whose attributes end with these. */
export function suffix(attributes: Record<string, string>): Filter;
/** Events of a type. */
export function eventType(type: string): Filter;
/** Events that pass all filters. */
export function all(...filters: Filter[]): Filter;
/** Events that pass one of the filters. */
export function any(...filters: Filter[]): Filter;
/** Events that do not pass a filter. */
export function not(filter: Filter): Filter;

/** Lines in the router's log. */
export const log: {
  debug(line: unknown): void;
  info(line: unknown): void;
  warn(line: unknown): void;
  error(line: unknown): void;
};

/** Text as UTF-8. */
export function encode(text: string): Uint8Array;
/** UTF-8 as text; undefined if it isn't UTF-8. */
export function decode(bytes: Uint8Array): string | undefined;
