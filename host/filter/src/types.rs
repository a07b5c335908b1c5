//! Which event types an expression can match.

/// Where a filter is indexed: the types it can match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Exact(Box<str>),
    Prefix(Box<str>),
    Rest,
}

/// The event types an expression can match.
pub(crate) struct Types {
    /// A matching event's type is in exactly one of these.
    pub(crate) places: Vec<Place>,
    /// Whether, conversely, every event with such a type matches.
    pub(crate) decided: bool,
}

impl Types {
    pub(crate) fn any_type(decided: bool) -> Self {
        Self { places: vec![Place::Rest], decided }
    }

    /// Sort key, narrowest first: few types, many types, prefixes, any type.
    pub(crate) fn breadth(&self) -> (bool, bool, usize) {
        let has = |what: fn(&Place) -> bool| self.places.iter().any(what);
        (
            has(|place| matches!(place, Place::Rest)),
            has(|place| matches!(place, Place::Prefix(_))),
            self.places.len(),
        )
    }
}

/// Drops places contained in others, so that no type is in two of them.
pub(crate) fn disjoint(mut places: Vec<Place>) -> Vec<Place> {
    if places.contains(&Place::Rest) {
        return vec![Place::Rest];
    }
    places.sort_unstable();
    places.dedup();
    let prefixes: Vec<Box<str>> = places
        .iter()
        .filter_map(|place| match place {
            Place::Prefix(prefix) => Some(prefix.clone()),
            _ => None,
        })
        .collect();
    places.retain(|place| {
        !prefixes.iter().any(|prefix| match place {
            Place::Exact(ty) => ty.starts_with(&**prefix),
            Place::Prefix(other) => other != prefix && other.starts_with(&**prefix),
            Place::Rest => false,
        })
    });
    places
}
