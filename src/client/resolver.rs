//! Finds the addresses of a host, and keeps those that are wanted. A name that leads where its route may not lead is
//! refused here: what was looked at is what is connected to.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;

use crate::endpoint::{IpFamily, IpPreference};
use crate::reach::Reach;

/// A resolver that uses the system's, and then chooses.
#[derive(Debug)]
pub(super) struct Resolver {
    /// Which addresses are wanted.
    pub(super) ip: Option<IpPreference>,
    /// A name that TLS asks for, and the host at which it is to be found.
    pub(super) alias: Option<(String, String)>,
    /// Which addresses a name may lead to: with one that it may not, none of its addresses is used.
    pub(super) reach: Reach,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = match &self.alias {
            Some((alias, host)) if alias.eq_ignore_ascii_case(name.as_str()) => host.clone(),
            _ => name.as_str().to_owned(),
        };
        let (ip, reach) = (self.ip, self.reach.clone());
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((host.as_str(), 0)).await?.collect();
            refuse_local(&host, &found, &reach)?;
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

/// An error if one of the addresses is where the name may not lead.
fn refuse_local(host: &str, found: &[SocketAddr], reach: &Reach) -> Result<(), String> {
    let refused = found
        .iter()
        .find_map(|address| Some((address.ip(), reach.refusal(address.ip())?)));
    match refused {
        Some((address, what)) => Err(format!(
            "{host} leads to {address}, which is {what}, and `local_addresses` does not name it"
        )),
        None => Ok(()),
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

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_unless_that_is_named() {
        for (allowed, found) in [
            (None, true),
            (Some("192.0.2.0/24"), false),
            (Some("127.0.0.0/8"), true),
        ] {
            let reach = allowed.map_or(Reach::Anywhere, |range| {
                Reach::Elsewhere(vec![range.parse().unwrap(), "::1".parse().unwrap()])
            });
            let resolver = Resolver {
                ip: None,
                alias: None,
                reach,
            };
            let resolved = resolver.resolve("localhost".parse().unwrap()).await;
            match resolved {
                Ok(mut addresses) => assert!(found && addresses.next().is_some(), "{allowed:?}"),
                Err(error) => {
                    let told = error.to_string();
                    assert!(!found && told.contains("which is loopback"), "{told}");
                }
            }
        }
    }

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
