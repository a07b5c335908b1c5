//! What the unit tests of several modules need.

use std::sync::Arc;

use crate::plugin::Plugin;
use crate::{Grants, Limits};

/// A plugin named `tested`, with the default limits.
pub(crate) fn plugin(grants: Grants) -> Arc<Plugin> {
    limited(grants, Limits::default())
}

/// A plugin named `tested`.
pub(crate) fn limited(grants: Grants, limits: Limits) -> Arc<Plugin> {
    let mut plugin = Plugin::unconfigured("tested", limits, Arc::default());
    plugin.grants = grants;
    Arc::new(plugin)
}
