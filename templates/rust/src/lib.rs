//! Greets whoever arrives.

use serde::Serialize;
use usher_sdk::prelude::*;
use usher_sdk::{ {%- if config %}config, {% endif %}log{% if state %}, state{% endif -%} };

struct Greeter;

#[derive(Serialize)]
struct Greeting {
    text: String,
{% if state %}    visit: i64,
{% endif %}}

impl Listener for Greeter {
    fn describe() -> Description {
        Description::new("{{ name }}", env!("CARGO_PKG_VERSION"), "Greets whoever arrives")
            .subscribe("arrivals", Filter::event_type("guest.arrived"))
{% if config %}            .wants(Capability::Config, "`greeting`: what to say")
{% endif %}{% if state %}            .wants(Capability::State, "to count each guest's visits")
{% endif %}{% if http %}            .wants(Capability::Http, "say why, and ask with usher_sdk::http")
{% endif %}    }

    fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
        let guest = delivery.event.subject.as_deref();
        let guest = guest.or_reject("the event has no subject: it should be the guest's name")?;
{% if config %}        let greeting = config::get("greeting")?.unwrap_or_else(|| "Hello".to_owned());
{% else %}        let greeting = "Hello";
{% endif %}{% if state %}        let visit = state::bucket("visits")?.increment(guest, 1)?;
        log::info!("visit {visit} of {guest}");
{% else %}        log::info!("{guest} is here");
{% endif %}        let greeting = Greeting { text: format!("{greeting}, {guest}!"){% if state %}, visit{% endif %} };
        Ok(vec![Emission::new("guest.greeted").subject(guest).json(&greeting)?])
    }
}

usher_sdk::export!(Greeter);

#[cfg(test)]
mod tests {
    use usher_sdk::testing::{TestHost, event};

    use super::*;

    #[test]
    fn a_guest_without_a_name_is_refused() {
        let failure = TestHost::new().deliver::<Greeter>(event("guest.arrived", &())).unwrap_err();
        assert!(!failure.is_retry());
    }
}
