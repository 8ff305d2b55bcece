//! Which client certificates are taken, by the five policies that Go's TLS has names for.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

crate::closed_set::closed_set! {
    /// What is asked of a client's certificate.
    ClientPolicy:
    NoClientCert "NoClientCert" "It is not asked for.",
    RequestClientCert "RequestClientCert" "It is asked for, and may be missing or anyone's.",
    RequireAnyClientCert "RequireAnyClientCert" "There has to be one, and it may be anyone's.",
    VerifyClientCertIfGiven "VerifyClientCertIfGiven" "If there is one, a trusted authority has to have issued it.",
    RequireAndVerifyClientCert "RequireAndVerifyClientCert" "There has to be one that a trusted authority has issued.",
}

impl ClientPolicy {
    /// Whether nobody comes in without a certificate.
    pub fn is_required(self) -> bool {
        matches!(
            self,
            Self::RequireAnyClientCert | Self::RequireAndVerifyClientCert
        )
    }

    /// Whether it matters who issued a certificate.
    pub fn verifies(self) -> bool {
        matches!(
            self,
            Self::VerifyClientCertIfGiven | Self::RequireAndVerifyClientCert
        )
    }
}

/// What holds clients to `policy`, or `None` if they are not asked for a certificate. Who issued one is looked up in
/// `authorities`; unless `names` is empty, one of them has to stand among the certificate's subject alternative names.
///
/// # Errors
/// When the authorities are no use.
pub(super) fn verifier(
    policy: ClientPolicy,
    authorities: RootCertStore,
    names: BTreeSet<String>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    if policy == ClientPolicy::NoClientCert {
        return Ok(None);
    }
    let issued = if policy.verifies() {
        let builder = WebPkiClientVerifier::builder_with_provider(
            Arc::new(authorities),
            Arc::clone(provider),
        );
        Some(builder.build().map_err(|error| error.to_string())?)
    } else {
        None
    };
    Ok(Some(Arc::new(Verifier {
        is_required: policy.is_required(),
        issued,
        names,
        algorithms: provider.signature_verification_algorithms,
    })))
}

#[derive(Debug)]
struct Verifier {
    is_required: bool,
    /// Looks at who issued a certificate; absent when anyone may have.
    issued: Option<Arc<dyn ClientCertVerifier>>,
    names: BTreeSet<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.issued
            .as_ref()
            .map_or(&[], |issued| issued.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(issued) = &self.issued {
            issued.verify_client_cert(certificate, intermediates, now)?;
        }
        if !self.names.is_empty() && !names_of(certificate)?.any_in(&self.names) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The subject alternative names of a certificate, as they are written in a configuration.
struct Names(Vec<String>);

impl Names {
    fn any_in(&self, allowed: &BTreeSet<String>) -> bool {
        self.0.iter().any(|name| allowed.contains(name))
    }
}

fn names_of(certificate: &CertificateDer<'_>) -> Result<Names, Error> {
    let unreadable = |_| Error::from(CertificateError::BadEncoding);
    let (_, certificate) = X509Certificate::from_der(certificate)
        .map_err(|_| Error::from(CertificateError::BadEncoding))?;
    let extension = certificate.subject_alternative_name().map_err(unreadable)?;
    let names = extension.map_or(&[][..], |extension| &extension.value.general_names);
    let written = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            Some((*name).to_owned())
        }
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
            _ => None,
        }
        .map(|address| address.to_string()),
        _ => None,
    };
    Ok(Names(names.iter().filter_map(written).collect()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, Issuer, KeyPair, SanType};

    use super::*;

    struct Authority(Issuer<'static, KeyPair>, CertificateDer<'static>);

    impl Authority {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let certificate = params.self_signed(&key).unwrap();
            Self(Issuer::new(params, key), certificate.der().clone())
        }

        fn client(&self) -> CertificateDer<'static> {
            let mut params = CertificateParams::new(["client.example".to_owned()]).unwrap();
            params.subject_alt_names.extend([
                SanType::IpAddress([10, 0, 0, 1].into()),
                SanType::Rfc822Name("ops@example.com".try_into().unwrap()),
                SanType::URI("spiffe://example/prometheus".try_into().unwrap()),
            ]);
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate().unwrap();
            params.signed_by(&key, &self.0).unwrap().der().clone()
        }
    }

    fn taken(policy: ClientPolicy, trusted: &Authority, by: &Authority, names: &[&str]) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.1.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let verifier = verifier(policy, roots, names, &provider).unwrap().unwrap();
        let taken = verifier.verify_client_cert(&by.client(), &[], UnixTime::now());
        taken.is_ok()
    }

    #[test]
    fn who_issued_it_matters_where_the_policy_says_so() {
        let (ours, theirs) = (Authority::new(), Authority::new());
        for &policy in ClientPolicy::ALL {
            if policy == ClientPolicy::NoClientCert {
                continue;
            }
            assert!(taken(policy, &ours, &ours, &[]), "{policy:?}");
            let strangers = taken(policy, &ours, &theirs, &[]);
            assert_eq!(strangers, !policy.verifies(), "{policy:?}");
        }
    }

    #[test]
    fn one_of_the_names_has_to_match_exactly() {
        let ours = Authority::new();
        for (names, good) in [
            (&["client.example"][..], true),
            (&["other", "10.0.0.1"], true),
            (&["ops@example.com"], true),
            (&["spiffe://example/prometheus"], true),
            (&["example"], false),
            (&["CLIENT.example"], false),
            (&["*.example"], false),
            (&["10.0.0.10"], false),
        ] {
            for policy in [
                ClientPolicy::RequireAnyClientCert,
                ClientPolicy::RequireAndVerifyClientCert,
            ] {
                assert_eq!(taken(policy, &ours, &ours, names), good, "{names:?}");
            }
        }
    }
}
