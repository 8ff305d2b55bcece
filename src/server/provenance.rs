//! Whose page a request was sent from. A browser brings the password of this endpoint along by itself, so a page of
//! anyone could press the buttons here; what a browser says of the sending page tells them apart.

use axum::http::header::{self, HeaderMap, HeaderName};

/// What a browser says of how the sender's site is related to the one that is asked. No page can set it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where a request was sent from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Provenance {
    /// A page of this very endpoint.
    OwnPage,
    /// A page of another one: what was said of it.
    Elsewhere(String),
    /// Nothing is said of it: no browser of today sends a form so.
    Untold,
}

/// How the endpoint is reached, as far as a browser sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached<'a> {
    /// The host that was asked for, with its port where that is not the usual one.
    pub(super) host: Option<&'a str>,
    /// The origin that browsers see, where a proxy stands before it.
    pub(super) external: Option<&'a str>,
    /// Whether it speaks TLS itself.
    pub(super) tls: bool,
}

impl Provenance {
    /// What the headers of a request say.
    pub(super) fn of(headers: &HeaderMap, reached: Reached<'_>) -> Self {
        if let Some(site) = the_only(headers, &SEC_FETCH_SITE) {
            return match site {
                "same-origin" => Self::OwnPage,
                other => Self::Elsewhere(format!("Sec-Fetch-Site: {other}")),
            };
        }
        match the_only(headers, &header::ORIGIN) {
            Some(origin) if reached.is_at(origin) => Self::OwnPage,
            Some(origin) => Self::Elsewhere(format!("Origin: {origin}")),
            None => Self::Untold,
        }
    }

    /// Why what was sent from there is not done; `None` if it is.
    pub(super) fn objection(&self) -> Option<String> {
        let told = match self {
            Self::OwnPage => return None,
            Self::Elsewhere(told) => {
                format!("your browser says that it was sent from another place ({told})")
            }
            Self::Untold => {
                "neither Sec-Fetch-Site nor Origin says from which page it was sent".to_owned()
            }
        };
        Some(format!(
            "Only a page of this program may press its buttons, and {told}. Nothing was done. Open the page of the \
             deployment here and press the button there. Behind a reverse proxy, start the daemon with \
             --web.external-url, and open the page at that address. Programs use /api/v1."
        ))
    }
}

impl Reached<'_> {
    fn is_at(&self, origin: &str) -> bool {
        if let Some(external) = self.external {
            return origin.eq_ignore_ascii_case(external);
        }
        let Some((scheme, sender)) = origin.split_once("://") else {
            return false;
        };
        let usual = match scheme {
            "https" => ":443",
            // Who may write into what goes unencrypted is not to speak for what does not.
            "http" if !self.tls => ":80",
            _ => return false,
        };
        let short = |host: &str| {
            let host = host.strip_suffix(usual).unwrap_or(host);
            host.to_ascii_lowercase()
        };
        self.host.is_some_and(|host| short(host) == short(sender))
    }
}

/// The value of a header that is there once. One that is there twice, or is no text, says something that is nobody's.
fn the_only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let value = all.next()?;
    if all.next().is_some() {
        return Some("(several)");
    }
    Some(value.to_str().unwrap_or("(no text)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(said: &[(&'static str, &str)], reached: Reached<'_>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.append(*name, value.parse().unwrap());
        }
        let found = Provenance::of(&headers, reached);
        assert_eq!(found == Provenance::OwnPage, found.objection().is_none());
        found == Provenance::OwnPage
    }

    const PLAIN: Reached<'_> = Reached {
        host: Some("prober.example:10016"),
        external: None,
        tls: false,
    };

    #[test]
    fn what_a_browser_says_of_the_site_decides_whatever_the_origin() {
        for (site, expected) in [
            ("same-origin", true),
            ("same-site", false),
            ("cross-site", false),
            ("none", false),
            ("", false),
        ] {
            assert_eq!(own(&[("sec-fetch-site", site)], PLAIN), expected, "{site}");
            let origin = ("origin", "http://prober.example:10016");
            let both = [("sec-fetch-site", site), origin];
            assert_eq!(own(&both, PLAIN), expected, "{site}");
        }
        let twice = [
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert!(!own(&twice, PLAIN));
    }

    #[test]
    fn else_the_origin_is_that_of_the_host() {
        let with = |host, tls| Reached { host, tls, ..PLAIN };
        for (origin, reached, expected) in [
            ("http://prober.example:10016", PLAIN, true),
            ("http://PROBER.example:10016", PLAIN, true),
            // A proxy speaks TLS, and hands the host on.
            ("https://prober.example:10016", PLAIN, true),
            ("http://prober.example", PLAIN, false),
            ("http://prober.example:10017", PLAIN, false),
            ("http://evil.example:10016", PLAIN, false),
            ("http://prober.example:10016.evil.example", PLAIN, false),
            ("ftp://prober.example:10016", PLAIN, false),
            ("prober.example:10016", PLAIN, false),
            ("null", PLAIN, false),
            ("", PLAIN, false),
            ("https://h", with(Some("h"), true), true),
            ("https://h", with(Some("h:443"), true), true),
            ("http://h", with(Some("h"), true), false),
            ("http://h:443", with(Some("h:443"), true), false),
            ("http://h", with(None, false), false),
        ] {
            let found = own(&[("origin", origin)], reached);
            assert_eq!(found, expected, "{origin} {reached:?}");
        }
        assert!(!own(&[], PLAIN), "nothing is said");
    }

    #[test]
    fn behind_a_proxy_it_is_that_of_the_external_url() {
        let reached = Reached {
            host: Some("127.0.0.1:10016"),
            external: Some("https://monitoring.example"),
            tls: false,
        };
        for (origin, expected) in [
            ("https://monitoring.example", true),
            ("http://monitoring.example", false),
            ("http://127.0.0.1:10016", false),
            ("null", false),
        ] {
            assert_eq!(own(&[("origin", origin)], reached), expected, "{origin}");
        }
    }
}
