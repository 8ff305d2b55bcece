//! What lets a run in, read at its beginning: headers, the proxy's password, and how to keep all of it out of
//! what is told later.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::error::ClientError;
use super::masking::Masking;
use super::tokens::Tokens;
use crate::endpoint::{Auth, Endpoint, HeaderSource, Login, Route, Scheme, SecretSource};
use crate::secret::Secret;

/// The most bytes that are read of a secret's file.
const SECRET_BYTES: u64 = 64 << 10;

/// What lets us in at one endpoint, for one run.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Sent with every request to the endpoint, and to nobody else.
    pub(super) headers: HeaderMap,
    /// Told the proxy, and nobody else.
    pub(super) proxy: Option<(String, Secret)>,
    pub(super) masking: Masking,
}

impl Credentials {
    /// Reads files and variables anew; fetches an access token if one is needed and none in `tokens` is good for
    /// as long as `longest`, which the run may take.
    ///
    /// # Errors
    /// When a secret cannot be read or sent, or the token endpoint gives no token.
    pub async fn read(
        endpoint: &Endpoint,
        tokens: &Tokens,
        longest: Duration,
    ) -> Result<Self, ClientError> {
        Self::of(&endpoint.auth, &endpoint.route, tokens, longest).await
    }

    /// The same for any server that `auth` lets us in at and `route` leads to.
    pub(super) async fn of(
        auth: &Auth,
        route: &Route,
        tokens: &Tokens,
        longest: Duration,
    ) -> Result<Self, ClientError> {
        let mut read = Self::of_route(route)?;
        let mut secrets = Vec::new();
        let Auth { scheme, headers } = auth;
        match scheme {
            None => {}
            Some(Scheme::Bearer(source)) => {
                let token = read_secret(source, "token")?;
                read.authorize("Bearer", &token, source, "token")?;
                secrets.push(token);
            }
            Some(Scheme::Basic(login)) => {
                let password = read_secret(&login.password, "password")?;
                let pair = Secret::new(format!("{}:{}", login.username, password.expose()));
                let encoded = Secret::new(BASE64_STANDARD.encode(pair.expose()));
                read.authorize("Basic", &encoded, &login.password, "password")?;
                secrets.extend([password, pair]);
            }
            Some(Scheme::ClientCredentials(credentials)) => {
                let token = tokens.get(credentials, longest).await?;
                read.authorize("Bearer", &token, &credentials.client_secret, "access token")?;
                secrets.push(token);
                secrets.push(read_secret(&credentials.client_secret, "client secret")?);
            }
        }
        for (name, source) in headers {
            let (text, secret) = match source {
                HeaderSource::Plain(text) => (Secret::new(text), false),
                HeaderSource::Secret(source) => {
                    (read_secret(source, &format!("{name} header"))?, true)
                }
            };
            let unsendable = || ClientError::SecretText {
                what: format!("{name} header"),
                origin: match source {
                    HeaderSource::Plain(_) => "the configuration".to_owned(),
                    HeaderSource::Secret(source) => origin(source),
                },
            };
            let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable())?;
            let mut value = HeaderValue::from_str(text.expose()).map_err(|_| unsendable())?;
            value.set_sensitive(secret);
            read.headers.insert(field, value);
            secrets.extend(secret.then_some(text));
        }
        read.masking = read.masking.and(&Masking::of(secrets));
        Ok(read)
    }

    /// What the way alone takes: the proxy's password.
    pub(super) fn of_route(route: &Route) -> Result<Self, ClientError> {
        let login = route.proxy.as_ref().and_then(|proxy| proxy.login.as_ref());
        let Some(Login { username, password }) = login else {
            return Ok(Self::default());
        };
        let password = read_secret(password, "proxy's password")?;
        let pair = Secret::new(format!("{username}:{}", password.expose()));
        Ok(Self {
            headers: HeaderMap::new(),
            masking: Masking::of([password.clone(), pair]),
            proxy: Some((username.clone(), password)),
        })
    }

    /// The same way to another server, which gets nothing of what lets us in at this one.
    pub(super) fn elsewhere(&self) -> Self {
        Self {
            headers: HeaderMap::new(),
            ..self.clone()
        }
    }

    fn authorize(
        &mut self,
        word: &str,
        secret: &Secret,
        source: &SecretSource,
        what: &str,
    ) -> Result<(), ClientError> {
        let text = Secret::new(format!("{word} {}", secret.expose()));
        let mut value =
            HeaderValue::from_str(text.expose()).map_err(|_| ClientError::SecretText {
                what: what.to_owned(),
                origin: origin(source),
            })?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

/// The secret that `source` holds now, never an empty one; `what` it is, for an error.
pub(super) fn read_secret(source: &SecretSource, what: &str) -> Result<Secret, ClientError> {
    let secret = match source {
        SecretSource::File(path) => first_line(path).map_err(|source| ClientError::SecretFile {
            what: what.to_owned(),
            path: path.clone(),
            source,
        })?,
        SecretSource::Env(name) => {
            let text = std::env::var(name).map_err(|_| ClientError::SecretEnv {
                what: what.to_owned(),
                variable: name.clone(),
            })?;
            Secret::new(text.trim())
        }
    };
    if secret.expose().is_empty() || secret.expose().contains(char::is_control) {
        return Err(ClientError::SecretText {
            what: what.to_owned(),
            origin: origin(source),
        });
    }
    Ok(secret)
}

fn first_line(path: &Path) -> std::io::Result<Secret> {
    let mut text = zeroize::Zeroizing::new(String::new());
    File::open(path)?
        .take(SECRET_BYTES)
        .read_to_string(&mut text)?;
    Ok(Secret::new(text.lines().next().unwrap_or_default().trim()))
}

fn origin(source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => path.display().to_string(),
        SecretSource::Env(name) => format!("${name}"),
    }
}
