//! Why no client could be made for a run: nothing was sent to the deployment.

use std::path::PathBuf;

use crate::measurement::RequestError;

/// What kept a run from beginning. None of it repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A secret's file cannot be read.
    #[error("cannot read the {what} file {path}: {source}")]
    SecretFile {
        /// What the file is to hold, such as `token`.
        what: String,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A secret's environment variable is not set.
    #[error(
        "the environment variable {variable}, which should hold the {what}, is not set or not UTF-8"
    )]
    SecretEnv {
        /// What the variable is to hold.
        what: String,
        /// The variable.
        variable: String,
    },
    /// A secret holds characters that cannot be sent.
    #[error(
        "the {what} from {origin} is empty or holds characters that an HTTP header cannot carry"
    )]
    SecretText {
        /// What it is to be.
        what: String,
        /// The file or the variable.
        origin: String,
    },
    /// A file of certificates or keys cannot be used.
    #[error("cannot use the {what} file {path}: {message}")]
    Pem {
        /// What the file is to hold: `CA`, `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The token endpoint gave no access token.
    #[error("no access token from {url}: {error}")]
    NoToken {
        /// The token endpoint.
        url: String,
        /// What happened there.
        error: RequestError,
    },
    /// TLS cannot be set up on this machine.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be built.
    #[error("cannot set up HTTP: {0}")]
    Http(#[from] reqwest::Error),
}
