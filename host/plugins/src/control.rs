//! Operator actions on installed plugins: recorded in the audit log, persisted in the same commit unless
//! the router has to find out first what comes of it, and only then applied.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use usher_broker::{Actor, BrokerError, Change, Operation, Operator, PluginChange};
use usher_event::PluginName;
use usher_router::{Router, Standing};

use super::outcome::HistoryEntry;
use super::reconciler::RollbackRequest;
use super::records::PluginRecords;

/// Applies operator actions.
pub struct Control {
    router: Arc<Router>,
    broker: Arc<dyn Operator>,
    records: Arc<PluginRecords>,
    rollbacks: mpsc::Sender<RollbackRequest>,
}

/// Why an action was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing of that name is installed.
    #[error("no plugin {0} is installed; see /plugins")]
    NoPlugin(PluginName),
    /// It has no effect, or conflicts with the plugin's current state.
    #[error("{0}")]
    Conflict(String),
    /// It could not be made durable.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl Control {
    /// Actions on the plugins of `router`; rollbacks are requested through `rollbacks`.
    pub fn new(
        router: Arc<Router>,
        broker: Arc<dyn Operator>,
        records: Arc<PluginRecords>,
        rollbacks: mpsc::Sender<RollbackRequest>,
    ) -> Self {
        Self { router, broker, records, rollbacks }
    }

    /// Rolls a plugin back to its previous version; the current one stays disabled until its file
    /// changes.
    ///
    /// # Errors
    /// See [`ControlError`]; nothing has changed then.
    pub async fn rollback(&self, by: &Actor, name: &PluginName) -> Result<Standing, ControlError> {
        self.standing(name)?;
        let recorded = Operation::Record(of(name, PluginChange::Rollback));
        self.broker.operate(by, recorded).await?;
        let (answer, answered) = oneshot::channel();
        let request = RollbackRequest { name: name.clone(), answer };
        let closed = || ControlError::Broker(BrokerError::Closed);
        self.rollbacks.send(request).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?.map_err(ControlError::Conflict)?;
        self.standing(name)
    }

    /// The persistent records of all plugins.
    pub fn kept(&self) -> Arc<PluginRecords> {
        Arc::clone(&self.records)
    }

    /// Outcomes of a plugin's changes, oldest first.
    ///
    /// # Errors
    /// No plugin of that name was ever installed.
    pub fn history(&self, name: &PluginName) -> Result<Vec<HistoryEntry>, ControlError> {
        let history = self.records.record(name).history;
        if history.is_empty() {
            self.standing(name)?;
        }
        Ok(history.into())
    }

    /// Pauses deliveries to a plugin until it is resumed; those in flight finish.
    ///
    /// # Errors
    /// See [`ControlError`]; nothing has changed then.
    pub async fn pause(&self, by: &Actor, name: &PluginName) -> Result<Standing, ControlError> {
        self.set_paused(by, name, true, PluginChange::Pause).await
    }

    /// Resumes deliveries to a paused plugin.
    ///
    /// # Errors
    /// See [`ControlError`]; nothing has changed then.
    pub async fn resume(&self, by: &Actor, name: &PluginName) -> Result<Standing, ControlError> {
        self.set_paused(by, name, false, PluginChange::Resume).await
    }

    /// Lifts a plugin's quarantine.
    ///
    /// # Errors
    /// See [`ControlError`]; nothing has changed then.
    pub async fn release(&self, by: &Actor, name: &PluginName) -> Result<Standing, ControlError> {
        if self.standing(name)?.quarantine.is_none() {
            return Err(ControlError::Conflict(format!("plugin {name} is not quarantined")));
        }
        let change = Some((by, of(name, PluginChange::Release)));
        self.records.change_by(change, name, |record| record.quarantine = None).await?;
        self.router.release(name);
        tracing::info!(plugin = %name, %by, "plugin released from quarantine");
        self.standing(name)
    }

    async fn set_paused(
        &self,
        by: &Actor,
        name: &PluginName,
        is_paused: bool,
        change: PluginChange,
    ) -> Result<Standing, ControlError> {
        if self.standing(name)?.is_paused == is_paused {
            let is = if is_paused { "is paused already" } else { "is not paused" };
            return Err(ControlError::Conflict(format!("plugin {name} {is}")));
        }
        let change = Some((by, of(name, change)));
        self.records.change_by(change, name, |record| record.is_paused = is_paused).await?;
        self.router.pause(name, is_paused);
        tracing::info!(plugin = %name, is_paused, %by, "plugin paused or resumed");
        self.standing(name)
    }

    fn standing(&self, name: &PluginName) -> Result<Standing, ControlError> {
        let standing = self.router.standings().remove(name);
        standing.ok_or_else(|| ControlError::NoPlugin(name.clone()))
    }
}

fn of(plugin: &PluginName, change: PluginChange) -> Change {
    Change::Plugin { plugin: plugin.clone(), change }
}
