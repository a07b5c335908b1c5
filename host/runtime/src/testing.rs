//! Helpers shared by unit tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use usher_event::{
    Delivery, Event, PluginName, StateAddress, StatePage, StateReader, StateSnapshot, StateUsage,
    StoreError,
};

use crate::Limits;
use crate::meter::{CpuMeter, GuestClock};
use crate::plugin::Plugin;
use crate::redaction::Redactor;
use crate::scheduler::LongCallScheduler;

/// A plugin named `tested`, with the default limits.
pub(crate) fn plugin() -> Arc<Plugin> {
    limited(Limits::default())
}

/// A plugin named `tested`.
pub(crate) fn limited(limits: Limits) -> Arc<Plugin> {
    Arc::new(Plugin::new("tested", limits, Redactor::default()))
}

/// The clock of an instance.
pub(crate) fn clock() -> Arc<GuestClock> {
    let turns = Arc::new(LongCallScheduler::for_this_machine());
    CpuMeter::new(&Arc::default(), &turns, &Arc::default()).clock().clone()
}

/// A delivery whose contents don't matter.
pub(crate) fn delivery() -> Delivery {
    Delivery {
        sequence: 42,
        event: Event::builder("e-1", "/tests", "test.event").build().unwrap(),
        subscription: "tested/all".parse().unwrap(),
        attempt: 1,
        flow: 42,
        depth: 0,
        replay: None,
        is_dry_run: false,
        span: None,
    }
}

/// In-memory committed state with a fixed version. Each key is `BUCKET/KEY`.
#[derive(Clone, Default)]
pub(crate) struct Committed(pub(crate) BTreeMap<String, Bytes>);

impl Committed {
    pub(crate) fn of<const N: usize>(pairs: [(&str, &'static str); N]) -> Self {
        Self(pairs.map(|(key, value)| (key.to_owned(), Bytes::from(value))).into())
    }
}

impl StateReader for Committed {
    fn snapshot(&self) -> Box<dyn StateSnapshot> {
        Box::new(self.clone())
    }
}

impl StateSnapshot for Committed {
    fn version(&self) -> u64 {
        7
    }

    fn get(&self, address: &StateAddress) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(&format!("{}/{}", address.bucket, address.key)).cloned())
    }

    fn keys(
        &self,
        _plugin: &PluginName,
        bucket: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<StatePage, StoreError> {
        let mut keys: Vec<Arc<str>> = self
            .0
            .keys()
            .filter_map(|key| key.strip_prefix(bucket)?.strip_prefix('/'))
            .filter(|key| after.is_none_or(|after| *key > after))
            .map(Into::into)
            .collect();
        let more = keys.len() > max;
        keys.truncate(max);
        Ok(StatePage { keys, more })
    }

    fn usage(&self, _plugin: &PluginName) -> Result<StateUsage, StoreError> {
        // Don't count the slash.
        let bytes = self.0.iter().map(|(key, value)| (key.len() - 1 + value.len()) as u64).sum();
        Ok(StateUsage { bytes, keys: self.0.len() as u64 })
    }
}
