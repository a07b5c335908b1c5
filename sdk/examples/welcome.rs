//! A listener that keeps state and calls a service, with tests: see docs/write-a-plugin.md.

use serde::Serialize;
use usher_sdk::prelude::*;
use usher_sdk::{config, http, log, state};

/// What the desk is told.
#[derive(Serialize)]
struct Announcement<'a> {
    guest: &'a str,
    visit: i64,
}

struct Welcome;

impl Listener for Welcome {
    fn describe() -> Description {
        Description::new("welcome", env!("CARGO_PKG_VERSION"), "Announces each guest at the desk")
            .subscribe("arrivals", Filter::event_type("guest.arrived"))
            .wants(Capability::State, "to count each guest's visits")
            .wants(Capability::Config, "`desk`: the URL to announce guests at")
            .wants(Capability::Http, "to announce guests at the desk")
    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let guest: String = delivery.event.json()?;
        let visit = state::bucket("visits")?.increment(&guest, 1)?;
        http::post(config::require("desk")?)
            .header("idempotency-key", delivery.idempotency_key())
            .json(&Announcement { guest: &guest, visit })?
            .send()?
            .success()?;
        log::info!("visit {visit} of {guest}");
        Ok(vec![Emission::new("guest.welcomed").subject(guest).json(&visit)?])
    }
}

usher_sdk::export!(Welcome);

#[cfg(test)]
mod tests {
    use usher_sdk::http::Response;
    use usher_sdk::testing::{TestHost, event};

    use super::*;

    #[test]
    fn counts_visits_of_guests_the_desk_took_notice_of() {
        let host = TestHost::new()
            .config("desk", "http://desk.test/guests")
            .answer(Response::new(503).with_header("retry-after", "5"))
            .answer(Response::new(204));

        let failure = host.deliver::<Welcome>(event("guest.arrived", "Ada")).unwrap_err();
        assert!(failure.is_retry(), "the desk may be back later");
        assert_eq!(host.state("visits", "Ada"), None, "a failed attempt leaves nothing");

        let emitted = host.deliver::<Welcome>(event("guest.arrived", "Ada")).unwrap();
        assert_eq!(emitted[0].payload(), Ok(1));
        assert_eq!(host.requests().len(), 2);
    }
}
