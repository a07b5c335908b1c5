//! Subscriptions that are added, changed and removed.

use super::World;
use crate::model::{Stands, any_pace, filters, subscription};
use crate::random::Random;
use usher_broker::*;

impl World {
    pub(crate) fn change_subscriptions(&mut self, random: &mut Random) {
        self.commit();
        match random.below(6) {
            0 => self.change_filter(random),
            5 => self.change_pace(random),
            1 => self.change_order(random),
            2 => self.remove(random),
            3 => self.change_expiry(random),
            _ => self.add(random),
        }
        self.commit();
    }

    pub(crate) fn any_subscription(&self, random: &mut Random) -> Option<Subscription> {
        let subscriptions = &self.model.subscriptions;
        subscriptions.values().nth(random.below(subscriptions.len())).cloned()
    }

    fn change_filter(&mut self, random: &mut Random) {
        let Some(mut changed) = self.any_subscription(random) else { return };
        changed.filter = filters()[random.below(filters().len())].clone();
        let name = changed.name.to_string();
        let next = self.broker.next_of(&changed.name).expect("it is there");
        // After a crash it reads again the events that its earlier filter passed over, except those
        // that have left the log since.
        let next = next.max(self.broker.stats().first_sequence);
        let out = self.leases.values().map(|out| &out.lease.delivery);
        let out = out.filter(|delivery| delivery.subscription == changed.name);
        let out: Vec<u64> = out.map(|delivery| delivery.sequence).collect();
        if *self.model.subscriptions[&name].filter.to_json().to_string()
            != *changed.filter.to_json().to_string()
        {
            self.model.change_filter(&name, changed.filter.clone(), next, &out);
        }
        self.tell(format_args!("filter of {name} from {next}: {}", changed.filter.to_json()));
        self.broker.subscribe(changed).unwrap();
    }

    fn change_order(&mut self, random: &mut Random) {
        let Some(mut changed) = self.any_subscription(random) else { return };
        let orders = [Order::None, Order::Total, Order::key("subject").unwrap()];
        changed.order = orders[random.below(3)].clone();
        changed.pace = any_pace(&changed.order, random);
        self.change_lanes(changed);
    }

    fn change_pace(&mut self, random: &mut Random) {
        let Some(mut changed) = self.any_subscription(random) else { return };
        changed.pace = any_pace(&changed.order, random);
        self.change_lanes(changed);
    }

    /// What is open when what makes a lane changes goes on without one.
    fn change_lanes(&mut self, changed: Subscription) {
        let name = changed.name.to_string();
        let lanes = |of: &Subscription| (of.order.clone(), of.pace.debounce.is_some());
        if lanes(&self.model.subscriptions[&name]) != lanes(&changed) {
            let open = self.model.stands.iter();
            let open = open.filter(|((of, _), stands)| *of == name && stands.may_come());
            self.model.unordered.extend(open.map(|(key, _)| key.clone()));
        }
        self.tell(format_args!("{name}: {:?}, {:?}", changed.order, changed.pace));
        self.model.subscriptions.insert(name.clone(), changed.clone());
        self.model.outdate(&name);
        self.broker.subscribe(changed).unwrap();
    }

    fn change_expiry(&mut self, random: &mut Random) {
        let Some(mut changed) = self.any_subscription(random) else { return };
        changed.expires = !changed.expires;
        self.tell(format_args!("{} expires: {}", changed.name, changed.expires));
        self.model.subscriptions.insert(changed.name.to_string(), changed.clone());
        self.broker.subscribe(changed).unwrap();
    }

    pub(crate) fn remove(&mut self, random: &mut Random) {
        let Some(gone) = self.any_subscription(random) else { return };
        if self.model.subscriptions.len() < 5 {
            return;
        }
        let name = gone.name.to_string();
        self.tell(format_args!("remove {name}"));
        assert!(self.broker.unsubscribe(&gone.name));
        self.model.unsubscribe(&name);
        let dead = self.model.stands.extract_if(.., |(of, _), _| *of == name);
        self.orphans += dead.filter(|(_, s)| matches!(s, Stands::Dead { id: Some(_) })).count();
        self.model.replayed.retain(|(of, _)| *of != name);
        self.model.counts.retain(|(of, _), _| *of != name);
        self.model.passed.retain(|(of, _)| *of != name);
        self.model.expired.remove(&name);
        self.model.unordered.retain(|(of, _)| *of != name);
        self.model.outdated.retain(|(of, _)| *of != name);
        *self.rounds.entry(name).or_default() += 1;
    }

    fn add(&mut self, random: &mut Random) {
        let names = ["t/new", "p/new", "q/new", "q/all", "p/a"];
        let name = names[random.below(names.len())];
        if self.model.subscriptions.contains_key(name) {
            return;
        }
        let orders = [Order::None, Order::Total, Order::key("subject").unwrap()];
        let order = orders[random.below(3)].clone();
        let mut added =
            subscription(name, random.below(filters().len()), order, 1 + random.below(6) as u32);
        let last = self.model.events.len() as u64;
        let from = 1 + random.below(self.model.events.len() + 1) as u64;
        let (start, first) = match random.below(3) {
            0 => (Start::Latest, last + 1),
            1 => (Start::Earliest, 1),
            _ => (Start::Sequence(from), from),
        };
        (added.start, added.expires) = (start, random.once_in(2));
        added.pace = any_pace(&added.order, random);
        self.tell(format_args!("add {name} at {start:?} {:?}", added.order));
        self.broker.subscribe(added.clone()).unwrap();
        self.model.subscribe(added, first.max(self.broker.stats().first_sequence));
    }
}
