// What a listener on StarlingMonkey has that others don't.

import { Reject, Retry, plugin, prefix } from './usher/usher.js';

export const listener = plugin({
  name: 'quirks-fetch',
  version: '1.0.0',
  summary: 'Asks whom its events say',
  subscriptions: { all: prefix({ type: 'quirk.' }) },
  wants: { http: 'to test' },

  async handle({ event }) {
    if (event.type !== 'quirk.http') return [];
    const { method, url, json } = event.json();
    const headers = { 'x-quirk': 'é', ...(json && { 'content-type': 'application/json' }) };
    let response;
    try {
      response = await fetch(url, { method, headers, body: json && JSON.stringify(json) });
    } catch (error) {
      throw new Retry(`${method} ${url}: ${error.message}`);
    }
    const body = await response.text();
    if (!response.ok) {
      const words = `${method} ${url} answered ${response.status}: ${body}`;
      throw response.status >= 500 ? new Retry(words) : new Reject(words);
    }
    const data = { status: response.status, body, type: response.headers.get('content-type') };
    return [{ type: 'answered', data }];
  },
});
