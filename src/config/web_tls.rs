//! `tls_server_config`: Go's names for what TLS can be told, turned into what is spoken here.
//!
//! A name that Go knows and that is too old to be spoken here is a warning as long as something is left.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, RootCertStore, ServerConfig};

use super::field::Field;
use super::likeness::unknown;
use super::section::Section;
use super::source::Fault;
use super::web::Files;
use crate::server::{ClientPolicy, TlsSettings, ciphers, curves, is_of_tls13};

pub(super) const FIELDS: &[&str] = &[
    "cert_file",
    "key_file",
    "cert",
    "key",
    "client_auth_type",
    "client_ca_file",
    "client_ca",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
];

const VERSIONS: &[(&str, ProtocolVersion)] = &[
    ("TLS13", ProtocolVersion::TLSv1_3),
    ("TLS12", ProtocolVersion::TLSv1_2),
    ("TLS11", ProtocolVersion::TLSv1_1),
    ("TLS10", ProtocolVersion::TLSv1_0),
];

const CURVES: &[(&str, NamedGroup)] = &[
    ("CurveP256", NamedGroup::secp256r1),
    ("CurveP384", NamedGroup::secp384r1),
    ("CurveP521", NamedGroup::secp521r1),
    ("X25519", NamedGroup::X25519),
];

/// Ciphers that Go knows and that are not spoken here: without forward secrecy, or with CBC.
const OLD_CIPHERS: &[&str] = &[
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// What a client of HTTP/2 may insist on in TLS 1.2.
const HTTP2_CIPHERS: [CipherSuite; 2] = [
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
];

/// What is to be spoken; `None` without any field, and after a mistake.
pub(super) fn read_tls(field: &Field<'_>, files: &Files, http2: bool) -> Option<ServerConfig> {
    let section = Section::of(field, FIELDS);
    if field.is_empty() {
        return None;
    }
    let pem = |names: &[&'static str; 2], example| {
        let is_filled = |name: &&&str| {
            section
                .get(name)
                .is_some_and(|field| field.text() != Some(""))
        };
        // A field that is left blank besides the other one is as good as none.
        let filled: Vec<_> = names.iter().filter(is_filled).copied().collect();
        let names = if filled.is_empty() {
            &names[..]
        } else {
            &filled
        };
        let (name, field): (_, Field<'_>) = section.exactly_one(names, example)?;
        Some((text_of(name, &field, files)?, field))
    };
    // Both are looked at before either is given up on.
    let chain = pem(&["cert_file", "cert"], "cert_file: server.crt");
    let key = pem(&["key_file", "key"], "key_file: server.key");
    let chain = chain.and_then(|(text, field)| noted(&field, certificates(&text)));
    let key = key.and_then(|(text, field)| {
        field.hide();
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes());
        let fault = |_| {
            Fault::new(
                "there is no private key in PEM form",
                "check that it begins with `-----BEGIN PRIVATE KEY-----`, and that it is not encrypted",
            )
        };
        noted(&field, key.map_err(fault))
    });
    let (policy, authorities) = read_clients(&section, files)?;
    let names = section.get("client_allowed_sans");
    let names = names.map_or_else(Vec::new, |field| {
        let names = field.items();
        if !policy.is_required() && !names.is_empty() {
            field.mistake(
                format!("with `client_auth_type: {}` a client may come without a certificate, and so without a name", policy.label()),
                "add `client_auth_type: RequireAndVerifyClientCert`, or delete the names",
            );
        }
        names
    });
    let (min_version, max_version) = read_versions(&section)?;
    let settings = TlsSettings {
        chain: chain?,
        key: key?,
        client_policy: policy,
        client_authorities: authorities,
        client_names: names
            .iter()
            .filter_map(|field| field.text().map(str::to_owned))
            .collect(),
        min_version,
        max_version,
        ciphers: read_ciphers(&section, min_version, max_version, http2)?,
        curves: read_curves(&section)?,
        prefers_own_order: section
            .get("prefer_server_cipher_suites")
            .and_then(|field| field.flag())
            .unwrap_or(true),
        http2,
    };
    noted(
        field,
        settings.build().map_err(|message| {
            Fault::new(
                format!("TLS cannot be set up: {message}"),
                "check that the key belongs to the first certificate of the chain",
            )
        }),
    )
}

/// What a field holds that ends in `_file`, or else itself.
fn text_of(name: &str, field: &Field<'_>, files: &Files) -> Option<String> {
    if name.ends_with("_file") {
        return field.parsed(|path| files.pem(path));
    }
    // What is wrong with a key is told without the key.
    field.hide();
    field.text().map(str::to_owned)
}

fn noted<T>(field: &Field<'_>, read: Result<T, Fault>) -> Option<T> {
    read.map_err(|fault| field.fault(fault)).ok()
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(Fault::new(
            "there is no certificate in PEM form",
            "check that it begins with `-----BEGIN CERTIFICATE-----`",
        )),
    }
}

fn read_clients(section: &Section<'_>, files: &Files) -> Option<(ClientPolicy, RootCertStore)> {
    let filled = |name: &'static str| {
        let field = section.get(name)?;
        (field.text() != Some("")).then_some((name, field))
    };
    let policy = match filled("client_auth_type") {
        // An older name of the same.
        Some((_, field)) if field.text() == Some("RequireClientCert") => {
            ClientPolicy::RequireAnyClientCert
        }
        Some((_, field)) => {
            let words = ClientPolicy::ALL
                .iter()
                .map(|policy| (policy.label(), *policy));
            field.choice(&words.collect::<Vec<_>>())?
        }
        None => ClientPolicy::NoClientCert,
    };
    let given = [filled("client_ca_file"), filled("client_ca")];
    let [first, second] = &given;
    if let (Some(_), Some((_, field))) = (first, second) {
        field.mistake(
            "`client_ca` is given besides `client_ca_file`",
            "keep either `client_ca_file` or `client_ca`",
        );
    }
    let mut authorities = RootCertStore::empty();
    let Some((name, field)) = given.into_iter().flatten().next() else {
        if policy.verifies() {
            // As Go has it.
            authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            let trusts_someone = !authorities.is_empty();
            let place = filled("client_auth_type").map(|(_, field)| field)?;
            let mend = "add `client_ca_file: clients-ca.crt`";
            if trusts_someone {
                let message = format!(
                    "without `client_ca_file`, `{}` takes whoever has a certificate of any authority that \
                     this system trusts",
                    policy.label()
                );
                place.warning(message, mend);
            } else {
                let message = format!(
                    "`{}` needs to know whose certificates are good, and this system trusts no authority",
                    policy.label()
                );
                place.mistake(message, mend);
                return None;
            }
        }
        return Some((policy, authorities));
    };
    if policy == ClientPolicy::NoClientCert {
        field.mistake(
            format!("`{name}` is given, and clients are not asked for certificates"),
            "add `client_auth_type: RequireAndVerifyClientCert`",
        );
        return None;
    }
    let text = text_of(name, &field, files)?;
    for certificate in noted(&field, certificates(&text))? {
        let added = authorities.add(certificate).map_err(|error| {
            Fault::new(
                format!("a certificate in it cannot be used: {error}"),
                "keep only certificates of authorities in it",
            )
        });
        noted(&field, added)?;
    }
    Some((policy, authorities))
}

fn read_versions(section: &Section<'_>) -> Option<(ProtocolVersion, ProtocolVersion)> {
    let oldest = VERSIONS[1].1;
    let min = match section.get("min_version") {
        Some(field) => {
            let min = field.choice(VERSIONS)?;
            if u16::from(min) < u16::from(oldest) {
                field.warning(
                    "TLS 1.0 and 1.1 are not spoken; clients need TLS 1.2 or newer",
                    "write `min_version: TLS12`",
                );
                oldest
            } else {
                min
            }
        }
        None => oldest,
    };
    let max = match section.get("max_version") {
        Some(field) => {
            let max = field.choice(VERSIONS)?;
            if u16::from(max) < u16::from(min) {
                field.mistake(
                    "no version is left: this one is older than the oldest that is spoken",
                    "delete the line, or write `max_version: TLS13`",
                );
                return None;
            }
            max
        }
        None => VERSIONS[0].1,
    };
    Some((min, max))
}

fn read_ciphers(
    section: &Section<'_>,
    min: ProtocolVersion,
    max: ProtocolVersion,
    http2: bool,
) -> Option<Vec<CipherSuite>> {
    let Some(field) = section.get("cipher_suites") else {
        return Some(Vec::new());
    };
    let items = field.items();
    if items.is_empty() {
        return Some(Vec::new());
    }
    let spoken: Vec<_> = ciphers().collect();
    let mut chosen = Vec::new();
    for item in items {
        let name = item.text()?;
        if let Some((_, cipher)) = spoken.iter().find(|(known, _)| known == name) {
            chosen.push(*cipher);
        } else if OLD_CIPHERS.contains(&name) {
            item.warning(
                format!("`{name}` is not spoken: it is too old to be safe"),
                "delete it",
            );
        } else {
            let names = spoken.iter().map(|(known, _)| known.as_str());
            item.fault(unknown("unknown cipher", name, names));
            return None;
        }
    }
    let speaks_tls12 = u16::from(min) <= u16::from(ProtocolVersion::TLSv1_2);
    if speaks_tls12 && http2 && !chosen.iter().any(|cipher| HTTP2_CIPHERS.contains(cipher)) {
        field.mistake(
            "HTTP/2 needs a cipher that is not among these",
            "add `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` or `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`, or write \
             `http2: false` in `http_server_config`",
        );
        return None;
    }
    let speaks_tls13 = max == ProtocolVersion::TLSv1_3;
    if !speaks_tls13 && chosen.iter().all(|cipher| is_of_tls13(*cipher)) {
        field.mistake(
            "none of these ciphers is spoken in TLS 1.2",
            "add `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` or `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`",
        );
        return None;
    }
    if chosen.is_empty() {
        // An empty choice would mean all of them. This one leaves those of TLS 1.3.
        chosen.push(CipherSuite::TLS13_AES_128_GCM_SHA256);
    }
    Some(chosen)
}

fn read_curves(section: &Section<'_>) -> Option<Vec<NamedGroup>> {
    let Some(field) = section.get("curve_preferences") else {
        return Some(Vec::new());
    };
    let items = field.items();
    let mut chosen = Vec::new();
    for item in &items {
        let name = item.text()?;
        let Some((_, curve)) = CURVES.iter().find(|(known, _)| *known == name) else {
            item.fault(unknown(
                "unknown curve",
                name,
                CURVES.iter().map(|(name, _)| *name),
            ));
            return None;
        };
        if curves().any(|spoken| spoken == *curve) {
            chosen.push(*curve);
        } else {
            item.warning(format!("`{name}` is not spoken"), "delete it");
        }
    }
    if chosen.is_empty() && !items.is_empty() {
        field.mistake(
            "none of these curves is spoken",
            "add `X25519` or `CurveP256`",
        );
        return None;
    }
    Some(chosen)
}
