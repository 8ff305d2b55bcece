//! What TLS asks of a server and shows it: trusted authorities, our own certificate, or no question at all.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;

use super::error::ClientError;
use crate::endpoint::Tls;

/// The settings of connections to a server, read anew from the files that `tls` names. The system's own
/// authorities are read only where they are `needed`.
pub(super) fn settings(tls: &Tls, needed: bool) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &tls.ca_file {
        _ if tls.insecure_skip_verify => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(&provider))),
        Some(path) => builder.with_root_certificates(authorities(path)?),
        None if needed => builder.with_platform_verifier()?,
        None => builder.with_root_certificates(RootCertStore::empty()),
    };
    let Some(own) = &tls.certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("certificate", &own.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&own.key_file)
        .map_err(|error| refused("key", &own.key_file, said(&error)))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| refused("key", &own.key_file, error.to_string()))
}

fn authorities(path: &Path) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("CA", path)? {
        roots
            .add(certificate)
            .map_err(|error| refused("CA", path, error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let read: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect());
    let certificates = read.map_err(|error| refused(what, path, said(&error)))?;
    if certificates.is_empty() {
        let none = "it holds no certificate in PEM form".to_owned();
        return Err(refused(what, path, none));
    }
    Ok(certificates)
}

/// What a reader of PEM files says, without what stands in the file.
fn said(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "it holds no such thing in PEM form".to_owned(),
        _ => "it is no well-formed PEM file".to_owned(),
    }
}

fn refused(what: &'static str, path: &Path, message: String) -> ClientError {
    ClientError::Pem {
        what,
        path: path.to_owned(),
        message,
    }
}

/// Believes every certificate. The handshake's signatures are checked all the same: whoever shows a certificate
/// has its key.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    fn new(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
