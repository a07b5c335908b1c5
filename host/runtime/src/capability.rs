//! What a host capability is: one room under `capabilities/` and one line in its list. A capability
//! never names the store it lives in; the store's data implements [`Has`] for it.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use usher_event::{Delivery, Effects, Given};
use wasmtime::component::{HasData, Linker, ResourceTable};

use crate::meter::GuestClock;
use crate::plugin::Plugin;

/// One name under which a capability is asked for, granted and described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The name in `describe`, configuration, JSON, logs and metric labels; `None` if it needs no
    /// grant.
    pub name: Option<&'static str>,
    /// Prefixes of the imports that use it; empty if another name covers them.
    pub interfaces: &'static [&'static str],
    /// What those imports let a plugin do: a predicate whose subject is the plugin.
    pub ability: &'static str,
    /// Whether `NAME = true` grants it; otherwise its grant has a syntax of its own.
    pub is_flag: bool,
}

/// A capability of one instance.
pub(crate) trait Capability: Sized + Send + 'static {
    /// Its names; most have one.
    const ABOUT: &'static [About];

    /// What the runtime or the operator's settings provide.
    type Service: Send + Sync + 'static;

    /// What all instances of a plugin share.
    type Shared: Send + Sync + 'static;

    /// Applies the operator's grants.
    fn share(plugin: &Arc<Plugin>, grants: &Grants, service: Self::Service) -> Self::Shared;

    /// The part of a new instance.
    fn new(shared: &Arc<Self::Shared>, clock: &Arc<GuestClock>) -> Self;

    /// Links its interfaces. All capabilities are always linked; one that is not granted returns
    /// an error that says what to add to the configuration.
    fn link<T: Has<Self> + Send + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()>;

    /// Resets per-delivery state.
    fn begin(&mut self, _delivery: &Delivery) {}

    /// Adds what the host told the guest in this delivery. Called before its effects are taken.
    fn record(&mut self, _given: &mut Given) {}

    /// Discards staged effects that were not taken: an instance may stay idle for long.
    fn end(&mut self) {}

    /// Takes the first limit this delivery exceeded; if there is one, its effects are incomplete.
    fn limit_reached(&mut self) -> Option<String> {
        None
    }

    /// Moves staged effects into `effects`.
    fn take(&mut self, _effects: &mut Effects) {}
}

/// A capability together with the table its handles live in.
pub(crate) struct View<'a, C> {
    pub(crate) capability: &'a mut C,
    pub(crate) table: &'a mut ResourceTable,
}

/// Data of a store that holds a capability.
pub(crate) trait Has<C> {
    /// The capability and the table.
    fn view(&mut self) -> View<'_, C>;
}

/// Tells the generated bindings that a capability is reached through its [`View`].
pub(crate) struct Viewed<C>(PhantomData<C>);

impl<C: 'static> HasData for Viewed<C> {
    type Data<'a> = View<'a, C>;
}

/// What the operator allows a plugin, by name. Nothing is granted by default.
#[derive(Clone, Debug, Default)]
pub struct Grants(BTreeMap<&'static str, Arc<dyn Grant>>);

/// The value of a grant: any type that can be compared, so that a changed configuration shows.
trait Grant: Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn equals(&self, other: &dyn Grant) -> bool;
}

impl<T: Any + Debug + PartialEq + Send + Sync> Grant for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn equals(&self, other: &dyn Grant) -> bool {
        other.as_any().downcast_ref::<T>() == Some(self)
    }
}

impl Grants {
    /// Adds a grant whose value is the name's own.
    pub(crate) fn insert<T: Any + Debug + PartialEq + Send + Sync>(
        &mut self,
        name: &'static str,
        value: T,
    ) {
        self.0.insert(name, Arc::new(value));
    }

    /// Adds the grant of a capability that is granted with `true`.
    #[must_use]
    pub fn allowing(mut self, name: &'static str) -> Self {
        self.insert(name, true);
        self
    }

    /// The value of a grant.
    pub(crate) fn get<T: Any>(&self, name: &'static str) -> Option<&T> {
        // `**`: the value, not the pointer to it, which is `Any` as well.
        self.0.get(name).and_then(|grant| (**grant).as_any().downcast_ref())
    }

    /// Whether there is a grant of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

impl PartialEq for Grants {
    fn eq(&self, other: &Self) -> bool {
        let mut others = other.0.iter();
        self.0.len() == other.0.len()
            && self.0.iter().all(|(name, grant)| {
                others.next().is_some_and(|(other, value)| name == other && grant.equals(&**value))
            })
    }
}

impl Eq for Grants {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_compared_by_name_and_value() {
        let grants = |name, value: &[&str]| {
            let mut grants = Grants::default();
            grants.insert(name, value.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
            grants
        };
        assert_eq!(grants("a", &["1"]), grants("a", &["1"]));
        for other in [grants("b", &["1"]), grants("a", &["2"]), Grants::default()] {
            assert_ne!(grants("a", &["1"]), other);
        }
        let flag = Grants::default().allowing("a");
        assert_ne!(grants("a", &["1"]), flag);
        assert_eq!(flag.get::<bool>("a"), Some(&true));
        assert_eq!(flag.get::<Vec<String>>("a"), None);
        assert!(flag.contains("a") && !flag.contains("b"));
    }
}
