//! A native listener, to measure broker and router without a sandbox.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use usher_event::{Delivery, Digest, Effects, Emission, Listener, Outcome, PluginName, Verdict};

/// Emits one event per delivery.
pub(crate) struct Echo {
    name: PluginName,
    digest: Digest,
    emitted: &'static str,
}

impl Echo {
    pub(crate) const NAME: &str = "echo";

    /// Creates a listener that emits events of this type.
    pub(crate) fn new(emitted: &'static str) -> anyhow::Result<Self> {
        Ok(Self { name: Self::NAME.parse()?, digest: Digest::of(b"native"), emitted })
    }
}

#[async_trait]
impl Listener for Echo {
    fn name(&self) -> &PluginName {
        &self.name
    }

    fn version(&self) -> &str {
        "0.0.0"
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    async fn handle(&self, _: &Delivery) -> Outcome {
        let emission = Emission {
            ty: self.emitted.into(),
            subject: None,
            datacontenttype: Some("application/json".into()),
            dataschema: None,
            extensions: Vec::new(),
            data: Some(Bytes::from_static(br#"{"done":true}"#)),
            delay_ms: None,
        };
        let effects = Effects { emissions: vec![emission], ..Effects::default() };
        Outcome { effects, ..Outcome::without_effects(Verdict::Ack, Duration::ZERO) }
    }
}
