//! The way to a server, and what lets the prober in there.

use std::time::Duration;

use vllm_prober::endpoint::{
    ClientCertificate, HeaderSource, IpFamily, IpPreference, Login, Proxy, Route, Scheme,
    SecretSource, Tls,
};
use vllm_prober::workload::Limits;

use super::*;

#[test]
fn the_way_to_a_server_comes_to_what_is_written() {
    let directory = Path::new("tests/testdata/config");
    let config = Config::load(&directory.join("good_outbound.yaml")).unwrap();
    let within = |name: &str| directory.join(name);
    let token = || SecretSource::File(within("token.txt"));
    let [first, second] = config.deployments.as_slice() else {
        panic!("{:?}", config.deployments);
    };
    let endpoint = &first.deployment.endpoint;
    assert_eq!(
        endpoint.route,
        Route {
            tls: Tls {
                ca_file: Some(within("ca.pem")),
                certificate: Some(ClientCertificate {
                    cert_file: within("client.pem"),
                    key_file: within("client.key"),
                }),
                server_name: Some("vllm.internal".to_owned()),
                insecure_skip_verify: false,
            },
            proxy: Some(Proxy {
                url: "socks5://proxy:1080".parse().unwrap(),
                login: Some(Login {
                    username: "prober".to_owned(),
                    password: token(),
                }),
            }),
            ip: Some(IpPreference {
                family: IpFamily::V6,
                fallback: false,
            }),
            ..Route::default()
        }
    );
    let headers = [
        (
            "x-scope-orgid".to_owned(),
            HeaderSource::Plain("team-a".to_owned()),
        ),
        ("x-api-key".to_owned(), HeaderSource::Secret(token())),
    ];
    assert_eq!(endpoint.auth.headers, headers.into());
    let Some(Scheme::ClientCredentials(credentials)) = &endpoint.auth.scheme else {
        panic!("{:?}", endpoint.auth);
    };
    assert_eq!(credentials.client_id, "vllm-prober");
    assert_eq!(credentials.scopes, ["models.read", "models.probe"]);
    assert_eq!(credentials.params["audience"], "vllm");
    // The way to the token endpoint is its own.
    let route = &credentials.route;
    assert_eq!(route.tls.ca_file, Some(within("ca.pem")));
    assert_eq!(
        (&route.tls.certificate, &route.tls.server_name),
        (&None, &None)
    );
    assert!(
        route
            .ip
            .is_some_and(|ip| ip.family == IpFamily::V4 && ip.fallback)
    );
    let Some(Scheme::Basic(login)) = &second.deployment.endpoint.auth.scheme else {
        panic!("{:?}", second.deployment.endpoint.auth);
    };
    assert_eq!(
        (login.username.as_str(), &login.password),
        ("prober", &token())
    );

    // A deployment overrides the timeouts that it names, and stays comparable with the other.
    let limits = [first, second].map(|probed| probed.probes[0].workload.limits);
    assert_eq!(limits[1], config.workloads[0].limits);
    assert_eq!(limits[1].total, Duration::from_secs(600));
    assert_eq!(
        limits[0],
        Limits {
            connect: Duration::from_secs(3),
            run: Duration::from_secs(900),
            ..limits[1]
        }
    );
    let ids = [first, second].map(|probed| probed.probes[0].workload.id());
    assert_eq!(ids[0], ids[1]);
}
