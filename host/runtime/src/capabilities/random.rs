//! The guest's random numbers (wasi:random): a stream of ChaCha20 for each delivery, keyed by the
//! instance's seed and the delivery's number in it. Unpredictable where the seed is; the same
//! numbers again where it is given.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryRng};
use ring::rand::{SecureRandom as _, SystemRandom};
use usher_event::{Delivery, Digest, Given, GivenRandom};
use wasmtime::component::Linker;

use crate::capability::{About, Capability, Grants, Has};
use crate::meter::GuestClock;
use crate::plugin::Plugin;

type Seed = [u8; 32];

/// Seeds of all instances; itself seeded by the operating system.
pub(crate) struct Seeds(Mutex<ChaCha20Rng>);

impl Seeds {
    /// # Errors
    /// The operating system has no random numbers.
    pub(crate) fn from_system() -> Result<Self, ring::error::Unspecified> {
        let mut seed = Seed::default();
        SystemRandom::new().fill(&mut seed)?;
        Ok(Self(Mutex::new(ChaCha20Rng::from_seed(seed))))
    }

    fn draw(&self) -> Seed {
        let mut seed = Seed::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut seed);
        seed
    }
}

/// Where an instance's seed comes from.
pub(crate) enum Source {
    /// Drawn.
    Seeds(Arc<Seeds>),
    /// Given.
    Given(GivenRandom),
}

/// One instance's random numbers. Cheap to clone: the generators of WASI's interfaces share it.
#[derive(Clone)]
pub(crate) struct Random(Arc<Mutex<State>>);

struct State {
    seed: Seed,
    /// Number of the delivery in the instance; 0 until the first.
    delivery: u64,
    /// Of the delivery; made on first use.
    stream: Option<ChaCha20Rng>,
    /// Number that the next delivery has, where it is given.
    given: Option<u64>,
}

impl Capability for Random {
    const ABOUT: &'static [About] = &[About {
        name: None,
        interfaces: &["wasi:random/"],
        ability: "draws random numbers",
        is_flag: false,
    }];

    type Service = Source;
    type Shared = Source;

    fn share(_: &Arc<Plugin>, _: &Grants, source: Source) -> Source {
        source
    }

    fn new(source: &Arc<Source>, _: &Arc<GuestClock>) -> Self {
        let (seed, given) = match &**source {
            Source::Seeds(seeds) => (seeds.draw(), None),
            Source::Given(GivenRandom { seed, delivery }) => (read_seed(seed), Some(*delivery)),
        };
        Self(Arc::new(Mutex::new(State { seed, delivery: 0, stream: None, given })))
    }

    /// WASI links them.
    fn link<T: Has<Self> + Send + 'static>(_: &mut Linker<T>) -> wasmtime::Result<()> {
        Ok(())
    }

    fn begin(&mut self, _: &Delivery) {
        let state = &mut *self.lock();
        state.delivery = state.given.take().unwrap_or(state.delivery.saturating_add(1));
        state.stream = None;
    }

    fn record(&mut self, given: &mut Given) {
        let State { seed, delivery, .. } = *self.lock();
        let seed = Digest::from_bytes(seed).to_string();
        given.random = Some(GivenRandom { seed, delivery });
    }
}

/// A seed as it is recorded, or the hash of any other text.
fn read_seed(text: &str) -> Seed {
    let digest = text.parse::<Digest>().unwrap_or_else(|_| Digest::of(text.as_bytes()));
    *digest.as_bytes()
}

impl Random {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seed that the guest may ask for, for hash tables.
    pub(crate) fn insecure_seed(&self) -> u128 {
        let seed = key(&self.lock().seed, "insecure seed", 0);
        seed.first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes))
    }

    fn stream<T>(&self, draw: impl FnOnce(&mut ChaCha20Rng) -> T) -> T {
        let State { seed, delivery, stream, .. } = &mut *self.lock();
        draw(stream.get_or_insert_with(|| ChaCha20Rng::from_seed(key(seed, "delivery", *delivery))))
    }
}

/// Keys of different purposes have nothing to do with each other.
fn key(seed: &Seed, purpose: &str, number: u64) -> Seed {
    let mut bytes = seed.to_vec();
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(purpose.as_bytes());
    *Digest::of(&bytes).as_bytes()
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.stream(Rng::next_u32))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.stream(Rng::next_u64))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.stream(|stream| stream.fill_bytes(bytes));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{clock, delivery, plugin};

    fn random(source: Source) -> Random {
        Random::new(&Arc::new(Random::share(&plugin(), &Grants::default(), source)), &clock())
    }

    fn recorded(random: &mut Random) -> GivenRandom {
        let mut given = Given::default();
        random.record(&mut given);
        given.random.unwrap()
    }

    #[test]
    fn each_delivery_of_each_instance_has_its_own_and_what_was_recorded_comes_again() {
        let mut drawn = std::collections::BTreeSet::new();
        let seeds = Arc::new(Seeds::from_system().unwrap());
        for _ in 0..2 {
            let mut random = random(Source::Seeds(seeds.clone()));
            assert!(drawn.insert(random.next_u64()), "before the first delivery");
            for _ in 0..3 {
                random.begin(&delivery());
                let numbers = [random.next_u64(), random.next_u64()];
                assert!(numbers.iter().all(|number| drawn.insert(*number)));

                let given = recorded(&mut random);
                let mut again = self::random(Source::Given(given.clone()));
                assert_eq!(again.insecure_seed(), random.insecure_seed());
                again.begin(&delivery());
                assert_eq!([again.next_u64(), again.next_u64()], numbers);
                assert_eq!(recorded(&mut again), given);
                again.begin(&delivery());
                assert_eq!(recorded(&mut again).delivery, given.delivery + 1);
            }
        }
    }

    #[test]
    fn any_text_is_a_seed() {
        let first = |seed: &str| {
            let mut random =
                random(Source::Given(GivenRandom { seed: seed.to_owned(), delivery: 1 }));
            random.begin(&delivery());
            random.next_u32()
        };
        assert_eq!(first("a"), first("a"));
        assert_ne!(first("a"), first("b"));
    }
}
