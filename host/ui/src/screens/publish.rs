//! A form that publishes an event, and leads to its flow.

use maud::{Markup, html};

use crate::html::field;

pub(crate) fn show() -> Markup {
    html! {
        h1 { "Publish" }
        p { "Publishes one event, as a producer would, and shows what becomes of it." }
        form.edit #publish method="post" action="api/events" data-to="flow?id=" {
            div.filters {
                label { "Type" input type="text" name="type" required; }
                label { "Source" input type="text" name="source" value="/ui" required; }
                label { "Id (empty: a random one)" input type="text" name="id"; }
                (field("Subject", "subject", "text", None))
                (field("Data content type", "datacontenttype", "text", Some("application/json")))
                label.wide {
                    "Extensions, one NAME=VALUE a line"
                    textarea name="extensions" rows="2" spellcheck="false" {}
                }
            }
            label { "Data" textarea name="data" rows="12" spellcheck="false" {} }
            button type="submit" { "Publish" }
        }
    }
}
