// What a listener in JavaScript meets that others don't.

import { Reject, Retry, log, plugin, prefix } from './usher/usher.js';
import * as config from './usher/usher-config.js';
import { bucket } from './usher/usher-state.js';

export const listener = plugin({
  name: 'quirks-js',
  version: '1.0.0',
  summary: 'Does what its events say',
  subscriptions: { all: prefix({ type: 'quirk.' }) },
  wants: { config: 'to test', state: 'to test' },

  handle({ event }) {
    switch (event.type) {
      case 'quirk.draw':
        return [{ type: 'drawn', data: { random: Math.random(), time: Date.now() / 1000 } }];
      case 'quirk.throw': {
        const count = bucket('count').increment('thrown');
        log.info('about to fail');
        return broken(`${count} ${Math.random()} ${Date.now()}`);
      }
      case 'quirk.setting':
        return [{ type: 'setting', data: config.require('missing') }];
      case 'quirk.retry':
        throw new Retry('later', 500);
      case 'quirk.reject':
        throw new Reject('never');
      case 'quirk.promise':
        return new Promise(() => {});
      case 'quirk.bytes': {
        const kept = bucket('bytes');
        kept.set('k', new Uint8Array([255, 0]));
        return [
          {
            type: 'bytes',
            data: kept.get('k'),
            contentType: 'application/octet-stream',
            extensions: { text: 'é', number: 7, yes: true },
          },
        ];
      }
      default:
        return [];
    }
  },
});

function broken(words) {
  throw new TypeError(words);
}
