//! The web configuration while the daemon runs: who is let in, and by which certificate.
//!
//! Its file, and all that it names, is looked at every two seconds, and at once when the configuration is asked to be
//! read anew. One that has mistakes changes nothing, and they are told once, not with every look.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::config::{Finding, Mistakes, WebConfig};
use crate::server::{Front, Served, Web};

/// How often it is looked whether the file, or a certificate or key that it names, has changed.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The file of the web configuration, and what it protects.
#[derive(Debug)]
pub struct WebFile {
    file: PathBuf,
    front: Arc<Front>,
    loaded_at: Timestamp,
    /// Why it was not taken when it was last read.
    refused: Option<String>,
}

impl WebFile {
    /// Protects `front` as `file` says.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn open(file: PathBuf, front: Arc<Front>) -> Result<Self, Mistakes> {
        let WebConfig { web, warnings } = WebConfig::load(&file)?;
        warn_of(&file, &warnings);
        front.protect(web);
        Ok(Self {
            file,
            front,
            loaded_at: now(),
            refused: None,
        })
    }

    /// Lets `served` show how it is loaded.
    pub(super) fn show(&self, served: &Served) {
        served.show_web_configuration(self.loaded_at);
    }

    /// Protects anew if the file says something else. What came of it is shown if that is news, or if it was `asked`
    /// for.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) async fn read(&mut self, asked: bool, served: &Served) -> Result<(), String> {
        let path = self.file.clone();
        let refusal = match spawn_blocking(move || WebConfig::load(&path)).await {
            Ok(Ok(read)) => {
                let is_news = self.take(read);
                if self.refused.take().is_some() || is_news || asked {
                    served.web_reloaded(now());
                }
                return Ok(());
            }
            Ok(Err(mistakes)) => {
                let text = mistakes.to_string();
                if self.refused.as_ref() != Some(&text) {
                    refuse(&self.file, &mistakes);
                }
                text
            }
            Err(error) => {
                error!(%error, "the web configuration cannot be read");
                error.to_string()
            }
        };
        if asked || self.refused.as_ref() != Some(&refusal) {
            served.web_reload_failed(now());
        }
        self.refused = Some(refusal.clone());
        Err(refusal)
    }

    /// Whether something has changed by it.
    fn take(&self, read: WebConfig) -> bool {
        if read.web.digest == self.front.web().digest {
            return false;
        }
        warn_of(&self.file, &read.warnings);
        self.front.protect(read.web);
        announce_change(&self.file, &self.front.web());
        true
    }
}

fn announce_change(file: &Path, web: &Web) {
    info!(
        file = %file.display(),
        tls = web.tls.is_some(),
        basic_auth = !web.users.is_empty(),
        "the web configuration or one of its certificates has changed, and is in force"
    );
}

fn refuse(file: &Path, mistakes: &Mistakes) {
    let file = file.display();
    for found in mistakes.findings() {
        error!(%file, line = found.line(), mend = found.mend(), "{}", found.message());
    }
    error!(%file, "the web configuration cannot be used; the one before stays in force");
}

fn warn_of(file: &Path, warnings: &[Finding]) {
    for warning in warnings {
        warn!(file = %file.display(), line = warning.line(), mend = warning.mend(), "{}", warning.message());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "when a configuration was loaded is told by a metric"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
