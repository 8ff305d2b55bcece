//! The `auths` section: what lets us in at a server. Secrets themselves have no place in the file.

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::header::HeaderName;

use super::addresses;
use super::field::Field;
use super::named::Named;
use super::routes::read_route;
use super::secrets::{CLIENT_SECRET, HEADER, TOKEN, guarded, read_login};
use super::section::{Key, Section};
use super::source::names_a_secret;
use super::values;
use crate::endpoint::{Auth, ClientCredentials, HeaderSource, Scheme};

pub(super) const FIELDS: &[&str] = &[
    "bearer_token_file",
    "bearer_token_env",
    "basic_auth",
    "oauth2",
    "headers",
];
const SCHEMES: &[&str] = &[
    "bearer_token_file",
    "bearer_token_env",
    "basic_auth",
    "oauth2",
];
pub(super) const OAUTH2_FIELDS: &[&str] = &[
    "client_id",
    "client_secret_file",
    "client_secret_env",
    "token_url",
    "scopes",
    "endpoint_params",
    "tls_config",
    "proxy_url",
    "proxy_auth",
    "preferred_ip_protocol",
    "ip_protocol_fallback",
];
pub(super) const HEADER_FIELDS: &[&str] = &["file", "env"];

/// Headers that the prober sets itself, or that say how a request is sent.
const TAKEN: &[&str] = &[
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

pub(super) fn read_auths(field: &Field<'_>, directory: &Path) -> Named<Auth> {
    Named::read(field, |_, field| read_auth(field, directory))
}

fn read_auth(field: &Field<'_>, directory: &Path) -> Option<Auth> {
    // Whatever stands under an unknown name here is likely to be a token.
    let section = guarded(field, FIELDS)?;
    let headers = section
        .get("headers")
        .map(|field| read_headers(&field, directory));
    let has_scheme = SCHEMES.iter().any(|name| section.get(name).is_some());
    let scheme = if has_scheme || headers.is_none() {
        Some(read_scheme(&section, directory)?)
    } else {
        None
    };
    Some(Auth {
        scheme,
        headers: headers.unwrap_or_default(),
    })
}

fn read_scheme(section: &Section<'_>, directory: &Path) -> Option<Scheme> {
    let (name, field) =
        section.exactly_one(SCHEMES, "bearer_token_file: /run/secrets/vllm-token")?;
    match name {
        "basic_auth" => read_login(&field, directory).map(Scheme::Basic),
        "oauth2" => read_client_credentials(&field, directory)
            .map(|credentials| Scheme::ClientCredentials(Box::new(credentials))),
        name => TOKEN.source(name, &field, directory).map(Scheme::Bearer),
    }
}

fn read_client_credentials(field: &Field<'_>, directory: &Path) -> Option<ClientCredentials> {
    let section = guarded(field, OAUTH2_FIELDS)?;
    let client_id = section
        .require("client_id", "vllm-prober")
        .and_then(|field| field.parsed(values::name));
    let client_secret = CLIENT_SECRET.read(&section, directory);
    let token_url = section
        .require("token_url", "https://login.example.com/oauth2/token")
        .and_then(|field| Some((field.parsed(addresses::token_url)?, field)));
    let scopes = section.get("scopes").map(|field| {
        let scopes = field.items().into_iter();
        scopes
            .filter_map(|scope| scope.parsed(values::name))
            .collect()
    });
    let params = section
        .get("endpoint_params")
        .map(|field| read_params(&field));
    let (token_url, field) = token_url?;
    if token_url.scheme() == "http" && !addresses::is_loopback(&token_url) {
        field.warning(
            "the client secret crosses the network unencrypted",
            "use `https://`, or make sure that nobody else is on this network",
        );
    }
    let route = read_route(&section, Some((&field, &token_url)), directory);
    Some(ClientCredentials {
        client_id: client_id?,
        client_secret: client_secret?,
        token_url,
        scopes: scopes.unwrap_or_default(),
        params: params.unwrap_or_default(),
        route,
    })
}

fn read_params(field: &Field<'_>) -> BTreeMap<String, String> {
    const SET: &[&str] = &["grant_type", "scope", "client_id", "client_secret"];
    let entries = field.entries().into_iter();
    let params = entries.filter_map(|(key, field)| {
        if names_a_secret(key.name) {
            field.hide();
            key.mistake(
                format!(
                    "`{}` has no place here: a secret is never written into the configuration",
                    key.name
                ),
                "only the client secret is sent, and is read from `client_secret_file`",
            );
        } else if SET.contains(&key.name) {
            key.mistake(
                format!("the prober sets `{}` itself", key.name),
                "delete it; `client_id` and `scopes` have fields of their own",
            );
        }
        Some((key.name.to_owned(), field.text()?.to_owned()))
    });
    params.collect()
}

fn read_headers(field: &Field<'_>, directory: &Path) -> BTreeMap<String, HeaderSource> {
    let mut headers = BTreeMap::new();
    for (key, field) in field.entries() {
        let source = read_header(&key, &field, directory);
        let name = key.name.to_ascii_lowercase();
        if headers.contains_key(&name) {
            key.mistake(
                format!("`{}` is given twice: case makes no difference", key.name),
                "keep one of the two",
            );
        }
        if let Some(source) = source {
            headers.insert(name, source);
        }
    }
    headers
}

fn read_header(key: &Key<'_>, field: &Field<'_>, directory: &Path) -> Option<HeaderSource> {
    let name = key.name.to_ascii_lowercase();
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        key.mistake(
            format!("`{}` is no name of an HTTP header", key.name),
            "write letters, digits and `-`, as in `X-Scope-OrgID`",
        );
    }
    if TAKEN.contains(&name.as_str()) {
        // The value of one of them is likely to be a token.
        field.hide();
        key.mistake(
            format!("the prober sets the header `{}` itself", key.name),
            "delete it; `bearer_token_file`, `basic_auth` and `oauth2` say what is in `Authorization`",
        );
        return None;
    }
    if field.is_map() {
        let section = guarded(field, HEADER_FIELDS)?;
        return HEADER.read(&section, directory).map(HeaderSource::Secret);
    }
    if names_a_secret(&name) || name == "cookie" {
        field.hide();
        field.mistake(
            format!(
                "the header `{}` carries a secret, which is never written into the configuration",
                key.name
            ),
            format!(
                "save it in a file, and write `{}: {{ file: /run/secrets/vllm-key }}`",
                key.name
            ),
        );
        return None;
    }
    field.parsed(values::header).map(HeaderSource::Plain)
}
