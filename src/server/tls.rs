//! What is spoken on an encrypted connection: versions, ciphers, curves, the certificate, and who has to show one.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoClientAuth;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, RootCertStore, ServerConfig};

use super::client_certificates::{ClientPolicy, verifier};

/// Everything that an encrypted endpoint can be told.
pub struct TlsSettings {
    /// The server's certificate, and those between it and its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first of them.
    pub key: PrivateKeyDer<'static>,
    /// What is asked of clients.
    pub client_policy: ClientPolicy,
    /// Who may have issued their certificates.
    pub client_authorities: RootCertStore,
    /// One of these has to stand in a client's certificate, unless there are none here.
    pub client_names: BTreeSet<String>,
    /// The oldest version, TLS 1.2 or 1.3.
    pub min_version: ProtocolVersion,
    /// The newest version.
    pub max_version: ProtocolVersion,
    /// The ciphers of TLS 1.2; all that there are if it is empty. Those of TLS 1.3 are not up for choice.
    pub ciphers: Vec<CipherSuite>,
    /// The curves, the preferred first; all that there are if it is empty.
    pub curves: Vec<NamedGroup>,
    /// Whether the order of the ciphers is the server's.
    pub prefers_own_order: bool,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is no one's business.
        f.debug_struct("TlsSettings")
            .field("client_policy", &self.client_policy)
            .field("min_version", &self.min_version)
            .field("max_version", &self.max_version)
            .finish_non_exhaustive()
    }
}

/// The ciphers that can be spoken, by their names in the standards.
pub fn ciphers() -> impl Iterator<Item = (String, CipherSuite)> {
    let suites = ring::ALL_CIPHER_SUITES.iter().map(|suite| suite.suite());
    suites.map(|suite| {
        let name = format!("{suite:?}");
        let name = name.replacen("TLS13_", "TLS_", 1);
        (name, suite)
    })
}

/// Whether a cipher is one of TLS 1.3.
pub fn is_of_tls13(suite: CipherSuite) -> bool {
    let known = ring::ALL_CIPHER_SUITES.iter();
    known
        .filter(|known| known.suite() == suite)
        .any(|known| known.tls13().is_some())
}

/// The curves that can be spoken.
pub fn curves() -> impl Iterator<Item = NamedGroup> {
    ring::ALL_KX_GROUPS.iter().map(|group| group.name())
}

impl TlsSettings {
    /// The settings as connections are made with them.
    ///
    /// # Errors
    /// When the certificate and the key do not belong together, or nothing is left that could be spoken.
    pub fn build(self) -> Result<ServerConfig, String> {
        let provider = Arc::new(self.provider());
        let spoken = [&TLS13, &TLS12].into_iter().filter(|version| {
            let at = u16::from(version.version);
            (u16::from(self.min_version)..=u16::from(self.max_version)).contains(&at)
        });
        let spoken: Vec<_> = spoken.collect();
        let text = |error: rustls::Error| error.to_string();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&spoken)
            .map_err(text)?;
        let verifier = verifier(
            self.client_policy,
            self.client_authorities,
            self.client_names,
            &provider,
        )?;
        let verifier = verifier.unwrap_or_else(|| Arc::new(NoClientAuth));
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain, self.key)
            .map_err(text)?;
        config.ignore_client_order = self.prefers_own_order;
        config.alpn_protocols = if self.http2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        };
        Ok(config)
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        if !self.ciphers.is_empty() {
            let place = |suite| self.ciphers.iter().position(|chosen| *chosen == suite);
            provider
                .cipher_suites
                .retain(|suite| suite.tls13().is_some() || place(suite.suite()).is_some());
            // In the order that was asked for; those of TLS 1.3 come first, as they have none.
            provider
                .cipher_suites
                .sort_by_key(|suite| suite.tls13().is_none().then(|| place(suite.suite())));
        }
        if !self.curves.is_empty() {
            let place = |group| self.curves.iter().position(|chosen| *chosen == group);
            provider
                .kx_groups
                .retain(|group| place(group.name()).is_some());
            provider.kx_groups.sort_by_key(|group| place(group.name()));
        }
        provider
    }
}
