//! What an index may look filters up by: conditions of which every matching event meets at least one.

use crate::data::decimal::Decimal;
use crate::data::path::Pointer;

/// Where a condition looks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    Attribute(Box<str>),
    Data(Pointer),
}

/// A condition that an index can look up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Atom {
    pub(crate) field: Field,
    pub(crate) test: Test,
}

/// How a condition compares. Texts of data are keys of scalars.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Test {
    Equals(Box<str>),
    BeginsWith(Box<str>),
    EndsWith(Box<str>),
    /// From and to, both inclusive.
    Within(Option<Decimal>, Option<Decimal>),
}

impl Atom {
    pub(crate) fn attribute(name: &str, test: Test) -> Self {
        Self { field: Field::Attribute(name.into()), test }
    }

    pub(crate) fn data(pointer: &Pointer, test: Test) -> Self {
        Self { field: Field::Data(pointer.clone()), test }
    }

    /// Whether it is about the type.
    pub(crate) fn is_of_type(&self) -> bool {
        matches!(&self.field, Field::Attribute(name) if &**name == "type")
    }
}

/// Conditions of which every matching event meets at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cover {
    pub(crate) atoms: Vec<Atom>,
    /// Whether, conversely, every event that meets one of them matches.
    pub(crate) decides: bool,
}

/// What looking a condition up costs; `None` if it can't be looked up.
pub(crate) type Cost<'c> = &'c dyn Fn(&Atom) -> Option<usize>;

impl Cover {
    pub(crate) fn one(atom: Atom, decides: bool) -> Self {
        Self { atoms: vec![atom], decides }
    }

    /// Narrows down to the cheapest of covers, for filters that need all of them to hold.
    pub(crate) fn cheapest(
        covers: impl IntoIterator<Item = Option<Self>>,
        cost: Cost<'_>,
    ) -> Option<Self> {
        let (mut cheapest, mut count) = (None, 0);
        for cover in covers {
            count += 1;
            let Some(cover) = cover else { continue };
            let Some(costs) = cover.cost(cost) else { continue };
            if cheapest.as_ref().is_none_or(|(_, least)| costs < *least) {
                cheapest = Some((cover, costs));
            }
        }
        let (cover, _) = cheapest?;
        Some(Self { decides: cover.decides && count == 1, ..cover })
    }

    /// Joins covers, for filters that need one of them to hold.
    pub(crate) fn union(covers: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        let mut union = Self { atoms: Vec::new(), decides: true };
        for cover in covers {
            let Self { atoms, decides } = cover?;
            union.atoms.extend(atoms);
            union.decides &= decides;
        }
        union.atoms.sort_unstable();
        union.atoms.dedup();
        Some(union)
    }

    /// What looking up all of it costs.
    pub(crate) fn cost(&self, cost: Cost<'_>) -> Option<usize> {
        self.atoms.iter().map(cost).try_fold(0_usize, |sum, cost| Some(sum.saturating_add(cost?)))
    }
}

/// As a line for operators.
impl std::fmt::Display for Atom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.field {
            Field::Attribute(name) => f.write_str(name)?,
            Field::Data(pointer) => write!(f, "data{pointer}")?,
        }
        match &self.test {
            Test::Equals(text) => write!(f, " equals {}", text.trim_start_matches('"')),
            Test::BeginsWith(text) => write!(f, " begins with {text}"),
            Test::EndsWith(text) => write!(f, " ends with {text}"),
            Test::Within(Some(low), Some(high)) => {
                write!(f, " is from {} to {}", low.as_str(), high.as_str())
            }
            Test::Within(Some(low), None) => write!(f, " is at least {}", low.as_str()),
            Test::Within(None, high) => {
                write!(f, " is at most {}", high.as_ref().map_or("", Decimal::as_str))
            }
        }
    }
}
