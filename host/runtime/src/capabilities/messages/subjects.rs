//! Subjects (or topics) of messages and the types of events that they stand for. Without a row in the
//! operator's table they are the same.

use std::collections::BTreeMap;

use crate::capability::Grants;

const SUBJECTS: &str = "subjects";

impl Grants {
    /// Adds a table of the types that subjects of messages stand for.
    #[must_use]
    pub fn with_subjects(mut self, types: BTreeMap<String, String>) -> Self {
        if !types.is_empty() {
            self.insert(SUBJECTS, types);
        }
        self
    }

    /// The types that subjects of messages stand for, by subject.
    pub fn subjects(&self) -> Option<&BTreeMap<String, String>> {
        self.get(SUBJECTS)
    }
}

/// The table, read both ways.
pub(crate) struct Subjects {
    types: BTreeMap<String, String>,
    subjects: BTreeMap<String, String>,
}

impl Subjects {
    pub(crate) fn new(types: BTreeMap<String, String>) -> Self {
        let subjects = types.iter().map(|(subject, ty)| (ty.clone(), subject.clone())).collect();
        Self { types, subjects }
    }

    /// The type that a subject stands for.
    pub(crate) fn ty(&self, subject: String) -> String {
        self.types.get(&subject).cloned().unwrap_or(subject)
    }

    /// The subject that stands for a type.
    pub(crate) fn subject<'a>(&'a self, ty: &'a str) -> &'a str {
        self.subjects.get(ty).map_or(ty, String::as_str)
    }
}
