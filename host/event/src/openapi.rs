//! OpenAPI schemas of names and digests.

use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::{Digest, PluginName, ScheduleName, SubscriptionName, TokenName};

macro_rules! described_as_text {
    ($($type:ident: $pattern:literal, $description:literal;)*) => {$(
        impl ToSchema for $type {}

        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .pattern(Some($pattern))
                    .description(Some($description))
                    .into()
            }
        }
    )*};
}

described_as_text! {
    Digest: "^[0-9a-f]{64}$", "SHA-256 as 64 lower-case hexadecimal digits.";
    PluginName: "^[a-z]([a-z0-9-]{0,62}[a-z0-9])?$", "A plugin's name.";
    ScheduleName: "^[a-z]([a-z0-9-]{0,62}[a-z0-9])?$", "A schedule's name.";
    TokenName: "^[a-z]([a-z0-9-]{0,62}[a-z0-9])?$", "A token's name.";
    SubscriptionName:
        "^[a-z]([a-z0-9-]{0,62}[a-z0-9])?/[a-z]([a-z0-9-]{0,62}[a-z0-9])?$",
        "A subscription's full name: `PLUGIN/NAME`.";
}
