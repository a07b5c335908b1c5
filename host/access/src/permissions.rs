//! All that a caller may do.

use super::scope::{Scope, TokenScope};

/// Limit on the scopes of one token.
pub const SCOPES_MAX: usize = 16;

/// What a caller may do: the scopes of its token, and a source that binds what it publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// The scopes, any of which suffices.
    pub scopes: Vec<TokenScope>,
    /// What the source of each published event must start with.
    pub source_prefix: Option<String>,
}

/// Why an event may not be published, with the attribute that it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefusal {
    /// Its type has none of the permitted prefixes.
    #[error("the token may publish only types that start with {0}")]
    Type(String),
    /// Its source lacks the prefix.
    #[error("the token may publish only sources that start with {0:?}")]
    Source(String),
}

impl PublishRefusal {
    /// The attribute.
    pub fn attribute(&self) -> &'static str {
        match self {
            Self::Type(_) => "type",
            Self::Source(_) => "source",
        }
    }
}

impl Permissions {
    /// Whether a route that requires `scope` may be used.
    pub fn include(&self, scope: Scope) -> bool {
        scope == Scope::Open || self.scopes.iter().any(|one| one.includes(scope))
    }

    /// Whether an event with this type and source may be published.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check_publish(&self, ty: &str, source: &str) -> Result<(), PublishRefusal> {
        let is_permitted = |scope: &TokenScope| match scope {
            TokenScope::Publish(Some(prefix)) => ty.starts_with(&**prefix),
            scope => scope.includes(Scope::Publish),
        };
        if !self.scopes.iter().any(is_permitted) {
            let prefixes = self.scopes.iter().filter_map(|scope| match scope {
                TokenScope::Publish(Some(prefix)) => Some(format!("{prefix:?}")),
                _ => None,
            });
            let prefixes: Vec<_> = prefixes.collect();
            return Err(PublishRefusal::Type(prefixes.join(" or ")));
        }
        match &self.source_prefix {
            Some(prefix) if !source.starts_with(&**prefix) => {
                Err(PublishRefusal::Source(prefix.clone()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(scopes: &[&str], source_prefix: Option<&str>) -> Permissions {
        Permissions {
            scopes: scopes.iter().map(|scope| scope.parse().unwrap()).collect(),
            source_prefix: source_prefix.map(str::to_owned),
        }
    }

    #[test]
    fn types_and_sources_bind_what_is_published() {
        let refused = |scopes: &[&str], source_prefix, ty, source| {
            let checked = permissions(scopes, source_prefix).check_publish(ty, source);
            checked.err().map(|refusal| refusal.attribute())
        };
        let two = &["publish:ticket.", "publish:order."][..];
        for (scopes, source_prefix, ty, source, expected) in [
            (&["publish"][..], None, "any", "/any", None),
            (two, None, "ticket.purchased", "/shop", None),
            (two, None, "order.placed", "/shop", None),
            (two, None, "ticke", "/shop", Some("type")),
            (two, Some("/shop/"), "ticket.x", "/shop/1", None),
            (two, Some("/shop/"), "ticket.x", "/shop", Some("source")),
            (&["publish"], Some("/shop"), "any", "/bank", Some("source")),
            (&["admin"], None, "any", "/any", None),
            (&["admin"], Some("/shop"), "any", "/bank", Some("source")),
            (&["read", "publish:x"], None, "y", "/any", Some("type")),
        ] {
            let case = format!("{scopes:?} {source_prefix:?} {ty} {source}");
            assert_eq!(refused(scopes, source_prefix, ty, source), expected, "{case}");
        }
        let both = permissions(two, None).check_publish("x", "/").unwrap_err().to_string();
        assert!(both.ends_with("\"ticket.\" or \"order.\""), "{both}");
    }

    #[test]
    fn what_is_open_needs_no_scope() {
        assert!(permissions(&[], None).include(Scope::Open));
        assert!(!permissions(&[], None).include(Scope::Read));
        assert!(permissions(&["operate", "read:attributes"], None).include(Scope::Read));
    }
}
