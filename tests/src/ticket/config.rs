//! The operator's configuration of the four ticket plugins.

use std::time::Duration;

/// The ticket plugins; crate and plugin names are the same.
pub const TICKET_PLUGINS: [&str; 4] = ["payment", "printer", "courier", "sales"];

/// URLs of the outside services, and the retry delay.
#[derive(Clone, Debug)]
pub struct TicketConfig {
    /// The payment gateway's base URL.
    pub gateway: String,
    /// The mail API's base URL.
    pub mail: String,
    /// Wait before the second attempt.
    pub first_delay: Duration,
}

impl TicketConfig {
    /// The tables of usher.toml.
    pub fn tables(&self) -> String {
        let Self { gateway, mail, first_delay } = self;
        format!(
            r#"
[retry]
first_delay_ms = {}
max_attempts = 10

[plugin.payment.grants]
http = ["{gateway}"]
[plugin.payment.config]
gateway = "{gateway}"

[plugin.printer.grants]
blobs = true

[plugin.courier.grants]
http = ["{mail}"]
blobs = true
[plugin.courier.config]
mail = "{mail}"

[plugin.sales.grants]
state = true
"#,
            first_delay.as_millis().max(1),
        )
    }
}
