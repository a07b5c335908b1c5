//! The screens.

mod audit;
mod blobs;
mod dead_letter;
mod dead_letters;
mod event;
mod events;
mod flow;
mod nodes;
mod overview;
mod plugin;
mod plugins;
mod publish;
mod schedules;
mod state;
mod subscriptions;

use usher_api::Problem;

use crate::asked::Asked;
use crate::screen::{Screen, Shown};
use crate::source::{Source, Viewer};

/// Reads what a screen shows.
pub(crate) async fn show(
    source: &impl Source,
    viewer: &Viewer,
    screen: Screen,
    query: &str,
) -> Result<Shown, Problem> {
    let asked = Asked::parse(query)?;
    let shown = |is_live, body| Shown { title: screen.title().to_owned(), is_live, body };
    Ok(match screen {
        Screen::Overview => shown(true, overview::show(source).await?),
        Screen::Events => events::show(source, &asked).await?,
        Screen::Event => event::show(source, &asked).await?,
        Screen::Flow => flow::show(source, viewer, &asked).await?,
        Screen::Plugins => shown(true, plugins::show(source).await?),
        Screen::Plugin => plugin::show(source, viewer, &asked).await?,
        Screen::Subscriptions => shown(true, subscriptions::show(source, viewer).await?),
        Screen::DeadLetters => shown(false, dead_letters::show(source, viewer, &asked).await?),
        Screen::DeadLetter => dead_letter::show(source, viewer, &asked).await?,
        Screen::State => shown(false, state::show(source, &asked).await?),
        Screen::Blobs => shown(false, blobs::show(source, viewer, &asked).await?),
        Screen::Schedules => shown(true, schedules::show(source).await?),
        Screen::Nodes => shown(true, nodes::show(source).await?),
        Screen::Audit => shown(false, audit::show(source).await?),
        Screen::Publish => shown(false, publish::show()),
    })
}
