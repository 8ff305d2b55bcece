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

impl ClientError {
    /// What happened, without where anything lies on this machine: fit for those who may look at the prober and have
    /// no business with its files. The log says the rest.
    pub fn without_paths(&self) -> String {
        match self {
            Self::SecretFile { what, source, .. } => {
                format!("cannot read the {what} file, which the log names: {source}")
            }
            Self::SecretText { what, .. } => format!(
                "the {what} is empty or holds characters that an HTTP header cannot carry; the log says where it is from"
            ),
            Self::Pem { what, message, .. } => {
                format!("cannot use the {what} file, which the log names: {message}")
            }
            Self::SecretEnv { .. } | Self::NoToken { .. } | Self::Tls(_) | Self::Http(_) => {
                self.to_string()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_only_to_the_log() {
        let path = PathBuf::from("/run/secrets/here");
        for error in [
            ClientError::SecretFile {
                what: "token".to_owned(),
                path: path.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            },
            ClientError::SecretText {
                what: "token".to_owned(),
                origin: path.display().to_string(),
            },
            ClientError::Pem {
                what: "CA",
                path,
                message: "it is empty".to_owned(),
            },
        ] {
            assert!(error.to_string().contains("/run/secrets/here"), "{error}");
            let told = error.without_paths();
            assert!(!told.contains("/run") && told.contains("the log"), "{told}");
        }
    }
}
