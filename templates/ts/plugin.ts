// Greets whoever arrives.

import { type Delivery, type Emission, Reject, eventType, log, plugin } from './usher/usher.js';
{% if config %}import * as config from './usher/usher-config.js';
{% endif %}{% if state %}import { bucket } from './usher/usher-state.js';
{% endif %}
export const listener = plugin({
  name: '{{ name }}',
  version: '1.0.0',
  summary: 'Greets whoever arrives',
  subscriptions: { arrivals: eventType('guest.arrived') },
  wants: {
{% if config %}    config: '`greeting`: what to say',
{% endif %}{% if state %}    state: "to count each guest's visits",
{% endif %}{% if http %}    http: 'say why, and ask with fetch() in an async handle',
{% endif %}  },

  handle({ event }: Delivery): Emission[] {
    const guest = event.subject;
    if (guest === undefined) {
      throw new Reject("the event has no subject: it should be the guest's name");
    }
{% if config %}    const greeting = config.get('greeting', 'Hello');
{% else %}    const greeting = 'Hello';
{% endif %}{% if state %}    const visit = bucket('visits').increment(guest);
    log.info(`visit ${visit} of ${guest}`);
    const data = { text: `${greeting}, ${guest}!`, visit };
{% else %}    log.info(`${guest} is here`);
    const data = { text: `${greeting}, ${guest}!` };
{% endif %}    return [{ type: 'guest.greeted', subject: guest, data }];
  },
});
