//! Addresses of servers and proxies, as users write them.

use url::{Host, Url};

use super::source::{Fault, names_a_secret};
use crate::deployment::MetricsSource;

/// The root of a server: `http` or `https`, a host, and at most a path.
pub(super) fn base_url(text: &str) -> Result<Url, Fault> {
    let url = http_url(text, "http://gpu-host:8000")?;
    if let Some((root, _)) = url
        .path()
        .split_once("/v1/")
        .filter(|(_, rest)| !rest.is_empty())
    {
        return Err(Fault::new(
            "the URL goes beyond the server's root",
            format!(
                "end it before `{}`: the prober adds the path of each request",
                &url.path()[root.len()..]
            ),
        ));
    }
    Ok(url)
}

/// Where a server's own metrics are read: an address with its path as written, or `off`.
pub(super) fn metrics_url(text: &str) -> Result<MetricsSource, Fault> {
    if text == "off" {
        return Ok(MetricsSource::Off);
    }
    if !text.contains(':') {
        return Err(Fault::new(
            format!("`{text}` is no URL"),
            "write one in full, as in `http://gpu-host:8000/metrics`, or `off` if there are no metrics to read",
        ));
    }
    http_url(text, "http://gpu-host:8000/metrics").map(MetricsSource::At)
}

/// The address of a Prometheus page, with its path as written.
pub(super) fn page_url(text: &str) -> Result<Url, Fault> {
    http_url(text, "http://gpu-host:9400/metrics")
}

/// Where a list of targets is fetched: an address that may have a query, but none with a secret in it.
pub(super) fn list_url(text: &str) -> Result<Url, Fault> {
    let (bare, query) = match text.split_once('?') {
        Some((bare, query)) => (bare, Some(query)),
        None => (text, None),
    };
    let mut url = http_url(bare, "https://inventory/vllm-targets")?;
    if query.is_some_and(|query| query.contains('#')) {
        return Err(Fault::new(
            "the URL has a fragment",
            "end it before the `#`",
        ));
    }
    url.set_query(query);
    let secret = url.query_pairs().find(|(name, _)| names_a_secret(name));
    match &secret {
        Some((name, _)) => Err(Fault::new(
            format!(
                "`{name}` has no place in the URL: a secret is never written into the configuration"
            ),
            "let the server be told by a header, and name the entry of `auths` that has it with `auth`",
        )),
        None => Ok(url.clone()),
    }
}

/// Where access tokens are fetched.
pub(super) fn token_url(text: &str) -> Result<Url, Fault> {
    http_url(text, "https://login.example.com/oauth2/token")
}

/// The address of a proxy: `http`, `https`, `socks5` or `socks5h`, a host, and nothing after it.
pub(super) fn proxy_url(text: &str) -> Result<Url, Fault> {
    let is_socks = matches!(scheme(text).as_deref(), Some("socks5" | "socks5h"));
    let example = if is_socks {
        "socks5://proxy:1080"
    } else {
        "http://proxy:3128"
    };
    let url = if is_socks {
        plain_url(text, example)?
    } else if scheme(text).is_some_and(|scheme| scheme.starts_with("socks")) {
        return Err(Fault::new(
            "only version 5 of SOCKS is spoken",
            "write `socks5://proxy:1080`, or `socks5h://proxy:1080` to have names resolved by the proxy",
        ));
    } else {
        http_url(text, example)?
    };
    if !matches!(url.path(), "" | "/") {
        return Err(Fault::new(
            "the URL of a proxy has no path",
            format!("end it after the port, as in `{example}`"),
        ));
    }
    if is_socks && url.port().is_none() {
        return Err(Fault::new(
            "the URL of a SOCKS proxy has no port",
            format!("write the port too, as in `{example}`"),
        ));
    }
    Ok(url)
}

fn scheme(text: &str) -> Option<String> {
    let (scheme, _) = text.split_once("://")?;
    Some(scheme.to_lowercase())
}

fn http_url(text: &str, example: &str) -> Result<Url, Fault> {
    if !matches!(scheme(text).as_deref(), Some("http" | "https")) {
        return Err(Fault::new(
            "the URL does not begin with `http://` or `https://`",
            format!("write it in full, as in `{example}`"),
        ));
    }
    plain_url(text, example)
}

/// A URL with a host, without credentials, query and fragment.
fn plain_url(text: &str, example: &str) -> Result<Url, Fault> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Fault::new(
            format!("the URL cannot be read: {error}"),
            format!("write it as in `{example}`"),
        )
    };
    let url = Url::parse(text).map_err(|error| unreadable(&error))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(unreadable(&"empty host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::new(
            "the URL carries credentials, which would surface wherever the URL does",
            "delete what stands before the `@`; a token belongs in a file that `auths` names, a proxy's password in one \
             that `proxy_auth` names",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::new(
            "the URL has a query or a fragment",
            "end it before the `?` or `#`",
        ));
    }
    Ok(url)
}

/// Whether what is sent to `url` stays on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_a_root_and_nothing_more() {
        for text in [
            "http://gpu-host:8000",
            "https://gw/team-a/v1/",
            "HTTP://[::1]:8000/v1",
            "http://vllm",
        ] {
            assert!(base_url(text).is_ok(), "{text}");
        }
        for text in [
            "gpu-host:8000",
            "localhost:8000",
            "ftp://gpu-host",
            "http://",
            "http://:8000",
            "http://host:99999",
            "http://me:pw@host",
            "http://me@host",
            "http://host/?x=1",
            "http://host/#top",
            "http://host/v1/chat/completions",
            "",
        ] {
            assert!(base_url(text).is_err(), "{text}");
        }
        assert!(
            !base_url("http://me:pw@host")
                .unwrap_err()
                .message
                .contains("pw")
        );
    }

    #[test]
    fn the_url_of_a_list_may_have_a_query_that_is_no_secret() {
        for text in [
            "https://inventory/targets",
            "http://inventory:8000/sd/?site=a&role=vllm",
        ] {
            assert_eq!(
                list_url(text).map(|url| url.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "inventory:8000",
            "http://me:pw@inventory/",
            "http://inventory/?token=hunter2",
            "http://inventory/?site=a&api_key=hunter2",
            "http://inventory/?site=a#top",
        ] {
            let fault = list_url(text).unwrap_err();
            assert!(!fault.message.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn the_path_of_a_metrics_url_is_kept_as_written() {
        for text in [
            "http://gw:9000/",
            "https://gw/team-a/v1/metrics",
            "http://gw/m/",
        ] {
            let at = MetricsSource::At(Url::parse(text).unwrap());
            assert_eq!(metrics_url(text), Ok(at), "{text}");
        }
        assert_eq!(metrics_url("off"), Ok(MetricsSource::Off));
        for text in [
            "on",
            "",
            "/metrics",
            "gw:9000/metrics",
            "http://gw/?x=1",
            "http://me@gw",
        ] {
            assert!(metrics_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for text in [
            "http://proxy:3128",
            "https://proxy",
            "socks5://proxy:1080",
            "socks5h://[::1]:1080",
            "SOCKS5://10.0.0.1:1080/",
        ] {
            assert!(proxy_url(text).is_ok(), "{text}: {:?}", proxy_url(text));
        }
        for text in [
            "proxy:3128",
            "socks://proxy:1080",
            "socks4://proxy:1080",
            "socks5://proxy",
            "socks5://:1080",
            "socks5://proxy:1080/path",
            "socks5://me:pw@proxy:1080",
            "http://proxy:3128/path",
        ] {
            assert!(proxy_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_stays_on_the_machine_is_loopback() {
        for (text, is) in [
            ("http://localhost:8000", true),
            ("http://127.0.0.9", true),
            ("http://[::1]", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), is, "{text}");
        }
    }
}
