//! A certificate made for one test, and the TLS server that shows it.

use std::io::Write;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;

/// A self-signed certificate.
pub(crate) struct SelfSigned(rcgen::CertifiedKey<rcgen::KeyPair>);

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
