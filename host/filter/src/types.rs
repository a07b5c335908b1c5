//! Which event types an expression can match.

/// Where a filter is indexed: the types it can match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TypePattern {
    Exact(Box<str>),
    Prefix(Box<str>),
    Rest,
}

/// The event types an expression can match.
pub(crate) struct Types {
    /// A matching event's type is in exactly one of these.
    pub(crate) patterns: Vec<TypePattern>,
    /// Whether, conversely, every event with such a type matches.
    pub(crate) decided: bool,
}

impl Types {
    pub(crate) fn any_type(decided: bool) -> Self {
        Self { patterns: vec![TypePattern::Rest], decided }
    }

    /// Sort key, narrowest first: few types, many types, prefixes, any type.
    pub(crate) fn breadth(&self) -> (bool, bool, usize) {
        let has = |what: fn(&TypePattern) -> bool| self.patterns.iter().any(what);
        (
            has(|pattern| matches!(pattern, TypePattern::Rest)),
            has(|pattern| matches!(pattern, TypePattern::Prefix(_))),
            self.patterns.len(),
        )
    }
}

/// Drops patterns contained in others, so that no type is in two of them.
pub(crate) fn disjoint(mut patterns: Vec<TypePattern>) -> Vec<TypePattern> {
    if patterns.contains(&TypePattern::Rest) {
        return vec![TypePattern::Rest];
    }
    patterns.sort_unstable();
    patterns.dedup();
    let prefixes: Vec<Box<str>> = patterns
        .iter()
        .filter_map(|pattern| match pattern {
            TypePattern::Prefix(prefix) => Some(prefix.clone()),
            _ => None,
        })
        .collect();
    patterns.retain(|pattern| {
        !prefixes.iter().any(|prefix| match pattern {
            TypePattern::Exact(ty) => ty.starts_with(&**prefix),
            TypePattern::Prefix(other) => other != prefix && other.starts_with(&**prefix),
            TypePattern::Rest => false,
        })
    });
    patterns
}
