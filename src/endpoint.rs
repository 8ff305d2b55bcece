//! Where a deployment answers, the way there, and what it takes to be let in.
//!
//! Nothing here holds a secret, only where one is read from. What lets us in belongs to one address: whoever
//! goes to another takes the [`Route::elsewhere`] and no [`Auth`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use url::Url;

use crate::closed_set::closed_set;
use crate::reach::Reach;

/// Where a deployment answers, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    base_url: Url,
    /// What lets us in; read anew for every run.
    pub auth: Auth,
    /// The way there.
    pub route: Route,
}

impl Endpoint {
    /// An endpoint at `base_url`, with or without a trailing `/v1` or `/`: both mean the same root.
    pub fn new(mut base_url: Url) -> Self {
        let path = base_url.path().trim_end_matches('/');
        let root = path
            .strip_suffix("/v1")
            .unwrap_or(path)
            .trim_end_matches('/')
            .to_owned();
        base_url.set_path(&root);
        Self {
            base_url,
            auth: Auth::default(),
            route: Route::default(),
        }
    }

    /// The server's root as text, without a trailing slash.
    pub fn base_url(&self) -> &str {
        self.base_url.as_str().trim_end_matches('/')
    }

    /// The server's root.
    pub fn root(&self) -> &Url {
        &self.base_url
    }

    /// The address of `path` (which starts with a slash) below the server's root.
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        url.set_path(&format!(
            "{}{path}",
            self.base_url.path().trim_end_matches('/')
        ));
        url
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.base_url.scheme() == "https"
    }
}

/// What is sent with every request so that it is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// What the `Authorization` header says; none without one.
    pub scheme: Option<Scheme>,
    /// Further headers by their names in lower case.
    pub headers: BTreeMap<String, HeaderSource>,
}

impl Auth {
    /// `Authorization: Bearer …` and nothing else.
    pub fn bearer(token: SecretSource) -> Self {
        Self {
            scheme: Some(Scheme::Bearer(token)),
            headers: BTreeMap::new(),
        }
    }

    /// Whether anything secret is sent.
    pub fn is_secret(&self) -> bool {
        let secret = |source: &HeaderSource| matches!(source, HeaderSource::Secret(_));
        self.scheme.is_some() || self.headers.values().any(secret)
    }
}

/// How the `Authorization` header comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A token as it is.
    Bearer(SecretSource),
    /// A name and a password (RFC 7617).
    Basic(Login),
    /// A token that is fetched with OAuth 2.0 client credentials (RFC 6749, section 4.4).
    ClientCredentials(Box<ClientCredentials>),
}

/// A name and the password that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Login {
    /// The name; without a colon.
    pub username: String,
    /// The password.
    pub password: SecretSource,
}

/// Where a bearer token is fetched, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientCredentials {
    /// Who we are to the token endpoint.
    pub client_id: String,
    /// What proves it.
    pub client_secret: SecretSource,
    /// The token endpoint.
    pub token_url: Url,
    /// What the token is to be good for.
    pub scopes: Vec<String>,
    /// Further parameters of the request, such as `audience`.
    pub params: BTreeMap<String, String>,
    /// The way to the token endpoint, which need not be that to the deployment.
    pub route: Route,
}

/// Where a header's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSource {
    /// The configuration itself: no secret.
    Plain(String),
    /// A file or a variable.
    Secret(SecretSource),
}

/// Where a secret is read from, at the moment it is needed, so that a rotated one is picked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretSource {
    /// The first line of a file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// The way to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// How the server proves who it is, and we to it, where the connection is encrypted.
    pub tls: Tls,
    /// A proxy to go through; without one, none is used, whatever the environment says.
    pub proxy: Option<Proxy>,
    /// Which of a name's addresses are used; whichever the system gives, without this.
    pub ip: Option<IpPreference>,
    /// Which addresses it may lead to.
    pub reach: Reach,
}

impl Route {
    /// The way to another server than the one that this was made for: what proves who we are stays behind.
    pub fn elsewhere(&self) -> Self {
        let mut route = self.clone();
        route.tls.certificate = None;
        route.tls.server_name = None;
        route
    }
}

/// How a connection is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tls {
    /// A PEM file whose certificates are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What we show when the server asks who we are.
    pub certificate: Option<ClientCertificate>,
    /// The host name that is asked for (SNI) and that the server's certificate must have, if it is not the
    /// URL's.
    pub server_name: Option<String>,
    /// Whether any certificate at all is believed.
    pub insecure_skip_verify: bool,
}

/// A certificate of our own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientCertificate {
    /// A PEM file with the certificate, and with those between it and the authority.
    pub cert_file: PathBuf,
    /// A PEM file with its key.
    pub key_file: PathBuf,
}

/// A proxy, and what lets us in there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proxy {
    /// Where it is: `http`, `https`, `socks5` (the host is resolved here) or `socks5h` (it is resolved there).
    pub url: Url,
    /// Name and password, if it wants any.
    pub login: Option<Login>,
}

impl Proxy {
    /// Whether the proxy resolves the server's name.
    pub fn resolves_names(&self) -> bool {
        self.url.scheme() != "socks5"
    }

    /// Whether the connection to the proxy itself is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }
}

/// Which of a name's addresses are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpPreference {
    /// Addresses of this family, if there are any.
    pub family: IpFamily,
    /// Whether those of the other family are used if there are none.
    pub fallback: bool,
}

closed_set! {
    /// A version of the Internet Protocol.
    IpFamily:
    V4 "ip4" "IPv4.",
    V6 "ip6" "IPv6.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_means_the_same_with_and_without_v1() {
        for (written, completions) in [
            ("http://gpu:8000", "http://gpu:8000/v1/chat/completions"),
            ("http://gpu:8000/", "http://gpu:8000/v1/chat/completions"),
            ("http://gpu:8000/v1", "http://gpu:8000/v1/chat/completions"),
            ("http://gpu:8000/v1/", "http://gpu:8000/v1/chat/completions"),
            (
                "https://gw/team-a/v1",
                "https://gw/team-a/v1/chat/completions",
            ),
            ("https://gw/team-a", "https://gw/team-a/v1/chat/completions"),
        ] {
            let endpoint = Endpoint::new(Url::parse(written).unwrap());
            assert_eq!(
                endpoint.url("/v1/chat/completions").as_str(),
                completions,
                "{written}"
            );
            assert!(!endpoint.base_url().ends_with('/'), "{written}");
        }
    }

    #[test]
    fn what_proves_who_we_are_stays_with_the_server_it_is_for() {
        let mut route = Route::default();
        route.tls.ca_file = Some("ca.pem".into());
        route.tls.server_name = Some("vllm.internal".to_owned());
        route.tls.certificate = Some(ClientCertificate {
            cert_file: "prober.pem".into(),
            key_file: "prober.key".into(),
        });
        let elsewhere = route.elsewhere().tls;
        assert_eq!(elsewhere.ca_file, route.tls.ca_file);
        assert_eq!((elsewhere.certificate, elsewhere.server_name), (None, None));
    }
}
