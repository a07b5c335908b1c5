//! The parts of an event: core attributes, extensions, data.

use crate::value::ValueRef;
use crate::{EventError, rules};

/// The core attributes of CloudEvents, in encoding order; the discriminant indexes [`Parts::core`]
/// and [`super::Layout::core`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    Id,
    Source,
    Type,
    Subject,
    Time,
    DataContentType,
    DataSchema,
}

pub(crate) const CORE_COUNT: usize = 7;

impl Core {
    pub(crate) const ALL: [Self; CORE_COUNT] = [
        Self::Id,
        Self::Source,
        Self::Type,
        Self::Subject,
        Self::Time,
        Self::DataContentType,
        Self::DataSchema,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Source => "source",
            Self::Type => "type",
            Self::Subject => "subject",
            Self::Time => "time",
            Self::DataContentType => "datacontenttype",
            Self::DataSchema => "dataschema",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "source" => Self::Source,
            "type" => Self::Type,
            "subject" => Self::Subject,
            "time" => Self::Time,
            "datacontenttype" => Self::DataContentType,
            "dataschema" => Self::DataSchema,
            _ => return None,
        })
    }

    /// Its presence bit; `None` for required attributes.
    pub(super) fn bit(self) -> Option<u8> {
        match self {
            Self::Id | Self::Source | Self::Type => None,
            Self::Subject => Some(1),
            Self::Time => Some(1 << 1),
            Self::DataContentType => Some(1 << 2),
            Self::DataSchema => Some(1 << 3),
        }
    }

    pub(super) fn check(self, text: &str) -> Result<(), EventError> {
        let name = self.name();
        rules::check_not_empty(name, text)?;
        rules::check_string(name, text)?;
        match self {
            Self::Id | Self::Type | Self::Subject => Ok(()),
            Self::Source => rules::check_uri_reference(name, text),
            Self::Time => rules::check_timestamp(name, text),
            Self::DataContentType => rules::check_media_type(name, text),
            Self::DataSchema => rules::check_uri(name, text),
        }
    }
}

/// The parts of an event, borrowed and not yet validated.
#[derive(Default)]
pub(crate) struct Parts<'a> {
    pub(crate) core: [Option<&'a str>; CORE_COUNT],
    pub(crate) extensions: Vec<(&'a str, ValueRef<'a>)>,
    pub(crate) data: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    pub(crate) fn set(&mut self, core: Core, text: &'a str) {
        if let Some(place) = self.core.get_mut(core as usize) {
            *place = Some(text);
        }
    }

    pub(crate) fn get(&self, core: Core) -> Option<&'a str> {
        self.core.get(core as usize).copied().flatten()
    }
}
