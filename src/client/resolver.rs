//! Finds the addresses of a host, and keeps those that are wanted.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use crate::endpoint::{IpFamily, IpPreference};

/// A resolver that uses the system's, and then chooses.
#[derive(Debug)]
pub(super) struct Resolver {
    /// Which addresses are wanted.
    pub(super) ip: Option<IpPreference>,
    /// A name that TLS asks for, and the host at which it is to be found.
    pub(super) alias: Option<(String, String)>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = match &self.alias {
            Some((alias, host)) if alias.eq_ignore_ascii_case(name.as_str()) => host.clone(),
            _ => name.as_str().to_owned(),
        };
        let ip = self.ip;
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((host.as_str(), 0)).await?.collect();
            let chosen = match ip {
                Some(preference) => choose(found, preference).ok_or_else(|| {
                    format!(
                        "{host} has no address of {}, and no other is to be used",
                        preference.family.label()
                    )
                })?,
                None => found,
            };
            Ok(Box::new(chosen.into_iter()) as Addrs)
        })
    }
}

/// The addresses of the preferred family; those of the other one if there are none and it may be used.
fn choose(found: Vec<SocketAddr>, preference: IpPreference) -> Option<Vec<SocketAddr>> {
    let (preferred, others): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|address| address.is_ipv4() == (preference.family == IpFamily::V4));
    if !preferred.is_empty() {
        return Some(preferred);
    }
    preference.fallback.then_some(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_family_is_used_alone_and_the_other_one_only_instead_of_it() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let (four, six) = (["192.0.2.1:0", "192.0.2.2:0"], ["[2001:db8::1]:0"]);
        let both = addresses(&[six[0], four[0], four[1]]);
        let prefer = |family, fallback| IpPreference { family, fallback };
        for (found, preference, chosen) in [
            (
                both.clone(),
                prefer(IpFamily::V4, true),
                Some(addresses(&four)),
            ),
            (
                both.clone(),
                prefer(IpFamily::V6, false),
                Some(addresses(&six)),
            ),
            (
                addresses(&four),
                prefer(IpFamily::V6, true),
                Some(addresses(&four)),
            ),
            (addresses(&four), prefer(IpFamily::V6, false), None),
            (addresses(&six), prefer(IpFamily::V4, false), None),
        ] {
            assert_eq!(choose(found, preference), chosen, "{preference:?}");
        }
    }
}
