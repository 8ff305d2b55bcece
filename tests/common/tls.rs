//! Certificates made for one test, and the TLS servers that show them.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::Write;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tempfile::NamedTempFile;

/// A self-signed certificate.
pub(crate) struct SelfSigned(rcgen::CertifiedKey<KeyPair>);

impl SelfSigned {
    /// A certificate for a host name or an IP address.
    pub(crate) fn of(host: &str) -> Self {
        Self(rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate"))
    }

    /// The certificate in a PEM file.
    pub(crate) fn ca_file(&self) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(self.0.cert.pem().as_bytes())
            .expect("a written file");
        file
    }

    /// A server's settings with the certificate and its key.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::try_from(self.0.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS")
            .with_no_client_auth()
            .with_single_cert(vec![self.0.cert.der().clone()], key);
        Arc::new(config.expect("a certificate with its key"))
    }
}

/// An authority that signs certificates for servers and clients.
pub(crate) struct Authority {
    pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// The host names that clients asked for in their handshakes, in the order of the handshakes.
pub(crate) type AskedNames = Arc<Mutex<Vec<Option<String>>>>;

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names are well-formed");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Its own certificate in a PEM file.
    pub(crate) fn ca_file(&self) -> NamedTempFile {
        written(&self.pem)
    }

    /// A certificate for `name` and its key, in PEM files.
    pub(crate) fn pair(&self, name: &str) -> (NamedTempFile, NamedTempFile) {
        let (certificate, key) = self.signed(name);
        (written(&certificate.pem()), written(&key.serialize_pem()))
    }

    fn signed(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer);
        (certificate.expect("a certificate"), key)
    }

    /// A server named `name`, which notes what it is asked for, and (if `demanding`) talks only to who shows a
    /// certificate of this authority.
    pub(crate) fn server(&self, name: &str, demanding: bool) -> (Arc<ServerConfig>, AskedNames) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (certificate, key) = self.signed(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let shown = CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider);
        let asked = AskedNames::default();
        let resolver = Noting {
            shown: Arc::new(shown.expect("a certificate with its key")),
            asked: Arc::clone(&asked),
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS");
        let builder = if demanding {
            let mut roots = RootCertStore::empty();
            roots.add(self.der.clone()).expect("an authority");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        (
            Arc::new(builder.with_cert_resolver(Arc::new(resolver))),
            asked,
        )
    }
}

fn written(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("a written file");
    file
}

#[derive(Debug)]
struct Noting {
    shown: Arc<CertifiedKey>,
    asked: AskedNames,
}

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_owned);
        self.asked.lock().expect("no panic under it").push(name);
        Some(Arc::clone(&self.shown))
    }
}
