//! Payloads: paths into them, their values, and how both are compared.

pub(crate) mod decimal;
pub(crate) mod members;
pub(crate) mod path;
pub(crate) mod scan;
pub(crate) mod value;
