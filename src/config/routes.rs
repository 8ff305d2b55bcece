//! How a server is reached: TLS, proxy, and which of its addresses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use url::{Host, Url};

use super::addresses;
use super::field::Field;
use super::secrets::read_login;
use super::section::Section;
use super::source::{Fault, read_text};
use crate::endpoint::{ClientCertificate, IpFamily, IpPreference, Proxy, Route, Tls};
use crate::reach::Reach;

pub(super) const TLS_FIELDS: &[&str] = &[
    "ca_file",
    "cert_file",
    "key_file",
    "server_name",
    "insecure_skip_verify",
];

/// The most bytes of a file of certificates: several times the system's own bundle.
const CERTIFICATE_BYTES: u64 = 4 << 20;

/// The way that the fields of `section` describe; `to` is where it leads and where that stands, if it is known.
pub(super) fn read_route(
    section: &Section<'_>,
    to: Option<(&Field<'_>, &Url)>,
    directory: &Path,
) -> Route {
    let written = section.get("tls_config");
    let tls = written
        .as_ref()
        .map(|field| read_tls(field, directory))
        .unwrap_or_default();
    let proxy = read_proxy(section, directory);
    if let Some((place, url)) = to
        && written.is_some()
        && url.scheme() != "https"
        && !proxy.as_ref().is_some_and(Proxy::is_encrypted)
    {
        place.warning(
            "`tls_config` has no effect: this URL is not encrypted",
            "use `https://`, or delete `tls_config`",
        );
    }
    if let (Some(field), Some(proxy)) = (&written, &proxy)
        && tls.server_name.is_some()
        && proxy.resolves_names()
    {
        field.mistake(
            "another `server_name` cannot be asked for through a proxy that resolves the server's name itself",
            "delete `server_name`, or use a `socks5://` proxy, which is told an address",
        );
    }
    let ip = read_ip_preference(section);
    if let (Some((place, url)), Some(ip)) = (to, &ip)
        && let Err(fault) = allows(ip, url)
    {
        place.fault(fault);
    }
    Route {
        tls,
        proxy,
        ip,
        reach: Reach::Anywhere,
    }
}

fn read_tls(field: &Field<'_>, directory: &Path) -> Tls {
    let section = Section::of(field, TLS_FIELDS);
    let ca_file = section
        .get("ca_file")
        .and_then(|field| field.parsed(|path| certificates(&directory.join(path))));
    let server_name = section
        .get("server_name")
        .and_then(|field| field.parsed(server_name));
    let skip = section
        .get("insecure_skip_verify")
        .and_then(|field| Some((field.flag()?, field)));
    if let Some((true, field)) = &skip {
        field.warning(
            "INSECURE: no certificate is checked, so whoever answers at this address is believed and gets the credentials",
            "trust the server's authority instead, with `ca_file`",
        );
    }
    Tls {
        ca_file,
        certificate: read_certificate(&section, directory),
        server_name,
        insecure_skip_verify: skip.is_some_and(|(skip, _)| skip),
    }
}

fn read_certificate(section: &Section<'_>, directory: &Path) -> Option<ClientCertificate> {
    let (cert, key) = match (section.get("cert_file"), section.get("key_file")) {
        (None, None) => return None,
        (Some(cert), Some(key)) => (cert, key),
        (Some(alone), None) => {
            alone.mistake(
                "`cert_file` is given without `key_file`",
                "add `key_file: …` with the certificate's key",
            );
            return None;
        }
        (None, Some(alone)) => {
            alone.mistake(
                "`key_file` is given without `cert_file`",
                "add `cert_file: …` with the key's certificate",
            );
            return None;
        }
    };
    let cert_file = cert.parsed(|path| certificates(&directory.join(path)));
    let key_file = key.parsed(|path| private_key(&directory.join(path)));
    let certificate = ClientCertificate {
        cert_file: cert_file?,
        key_file: key_file?,
    };
    if !belong_together(&certificate) {
        key.mistake(
            "the key is not that of the certificate in `cert_file`",
            "name the key that the certificate was made for",
        );
    }
    Some(certificate)
}

/// The file at `path`, which holds certificates.
pub(super) fn certificates(path: &Path) -> Result<PathBuf, Fault> {
    let pem = read_text(path, CERTIFICATE_BYTES)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    if read.is_ok_and(|certificates| !certificates.is_empty()) {
        return Ok(path.to_owned());
    }
    Err(Fault::new(
        format!("`{}` holds no readable certificate", path.display()),
        "name a PEM file with `-----BEGIN CERTIFICATE-----` in it",
    ))
}

fn private_key(path: &Path) -> Result<PathBuf, Fault> {
    let pem = zeroize::Zeroizing::new(read_text(path, CERTIFICATE_BYTES)?);
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(_) => Ok(path.to_owned()),
        Err(_) => Err(Fault::new(
            format!("`{}` holds no readable key", path.display()),
            "name a PEM file with `-----BEGIN PRIVATE KEY-----` in it; one that is encrypted cannot be used",
        )),
    }
}

fn belong_together(certificate: &ClientCertificate) -> bool {
    let chain: Option<Vec<_>> = CertificateDer::pem_file_iter(&certificate.cert_file)
        .and_then(|chain| chain.collect())
        .ok();
    let key = PrivateKeyDer::from_pem_file(&certificate.key_file).ok();
    let (Some(chain), Some(key)) = (chain, key) else {
        // They were read a moment ago; whoever takes them away now is told when they are used.
        return true;
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    CertifiedKey::from_der(chain, key, &provider).is_ok()
}

fn server_name(text: &str) -> Result<String, Fault> {
    match ServerName::try_from(text) {
        Ok(ServerName::DnsName(_)) => Ok(text.to_owned()),
        _ => Err(Fault::new(
            format!("`{text}` is no host name"),
            "write the name that is in the server's certificate, such as `vllm.internal`, and no address",
        )),
    }
}

fn read_proxy(section: &Section<'_>, directory: &Path) -> Option<Proxy> {
    let url = section.get("proxy_url");
    let login = section.get("proxy_auth");
    if let (None, Some(field)) = (&url, &login) {
        field.mistake(
            "`proxy_auth` is given without `proxy_url`",
            "add `proxy_url: …`, or delete `proxy_auth`",
        );
    }
    let login = login.and_then(|field| read_login(&field, directory));
    let url = url?.parsed(addresses::proxy_url)?;
    Some(Proxy { url, login })
}

fn read_ip_preference(section: &Section<'_>) -> Option<IpPreference> {
    let fallback = section.get("ip_protocol_fallback");
    let Some(field) = section.get("preferred_ip_protocol") else {
        if let Some(field) = fallback {
            field.mistake(
                "`ip_protocol_fallback` is given without `preferred_ip_protocol`",
                "add `preferred_ip_protocol: ip4` or `ip6`, or delete it",
            );
        }
        return None;
    };
    let families: Vec<_> = IpFamily::ALL
        .iter()
        .map(|family| (family.label(), *family))
        .collect();
    let family = field.choice(&families)?;
    let fallback = fallback.is_none_or(|field| field.flag().unwrap_or(true));
    Some(IpPreference { family, fallback })
}

/// Whether the address in `url`, if it is one, may be used.
pub(super) fn allows(ip: &IpPreference, url: &Url) -> Result<(), Fault> {
    let of_url = match url.host() {
        Some(Host::Ipv4(_)) => Some(IpFamily::V4),
        Some(Host::Ipv6(_)) => Some(IpFamily::V6),
        _ => None,
    };
    if ip.fallback || of_url.is_none_or(|of_url| of_url == ip.family) {
        return Ok(());
    }
    Err(Fault::new(
        format!(
            "this address is none of {}, and `ip_protocol_fallback: false` allows no other",
            ip.family.label()
        ),
        "write a name or an address of that protocol, or allow the other one",
    ))
}
