//! The cases of the exporters' toolkit, and what promtool says of them.

use super::*;

/// Web configurations, whether they can be used, and whether Debian's Prometheus, which is older than some fields and
/// less strict in some places, says so, too.
const CASES: &[(&str, &str, bool, bool)] = &[
    ("nothing", "", true, true),
    (
        "TLS",
        "tls_server_config: {cert_file: server.crt, key_file: server.key}",
        true,
        true,
    ),
    ("junk", "hha_junk", false, true),
    (
        "an unknown key",
        "tls_server_configg:\n  cert_file: server.crt",
        false,
        true,
    ),
    (
        "an unknown key within",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, cert_fil: x}",
        false,
        true,
    ),
    (
        "an empty certificate path",
        "tls_server_config: {cert_file: '', key_file: server.key}",
        false,
        true,
    ),
    (
        "an empty key path",
        "tls_server_config: {cert_file: server.crt, key_file: ''}",
        false,
        true,
    ),
    (
        "fields in place that are left blank",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, cert: '', key: '', client_ca: ''}",
        true,
        false,
    ),
    (
        "certificates that are verified, by the system's authorities",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: VerifyClientCertIfGiven}",
        true,
        true,
    ),
    (
        "certificates that are demanded and verified, by the system's authorities",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAndVerifyClientCert}",
        true,
        true,
    ),
    (
        "a limit that lets nothing through",
        "rate_limit: {interval: 1s, burst: 0}",
        true,
        false,
    ),
    (
        "no key",
        "tls_server_config: {cert_file: server.crt}",
        false,
        true,
    ),
    (
        "both paths empty, with a policy",
        "tls_server_config: {cert_file: '', key_file: '', client_auth_type: RequireAnyClientCert}",
        false,
        true,
    ),
    (
        "a certificate that is not there",
        "tls_server_config: {cert_file: somefile, key_file: server.key}",
        false,
        true,
    ),
    (
        "a key that is not there",
        "tls_server_config: {cert_file: server.crt, key_file: somefile}",
        false,
        true,
    ),
    (
        "a key of another",
        "tls_server_config: {cert_file: server.crt, key_file: client.key}",
        false,
        true,
    ),
    (
        "a certificate for a key",
        "tls_server_config: {cert_file: server.crt, key_file: server.crt}",
        false,
        true,
    ),
    (
        "an invented policy",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireFoo}",
        false,
        true,
    ),
    (
        "authorities without a policy",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt}",
        false,
        true,
    ),
    (
        "authorities that are not there",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: somefile}",
        false,
        true,
    ),
    (
        "every certificate verified",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt}",
        true,
        true,
    ),
    (
        "those given verified",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.crt}",
        true,
        true,
    ),
    (
        "any certificate",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAnyClientCert}",
        true,
        true,
    ),
    (
        "any certificate, in older words",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireClientCert}",
        true,
        true,
    ),
    (
        "a certificate asked for",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequestClientCert}",
        true,
        true,
    ),
    (
        "a bad version",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: TLS111}",
        false,
        true,
    ),
    (
        "TLS 1.3 only",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: TLS13}",
        true,
        true,
    ),
    (
        "old TLS allowed",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: TLS10}",
        true,
        true,
    ),
    (
        "an invented cipher",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, cipher_suites: [TLS_FOO]}",
        false,
        true,
    ),
    (
        "some ciphers",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]}",
        true,
        true,
    ),
    (
        "all ciphers of Go",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_AES_256_CBC_SHA, TLS_RSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]}",
        true,
        true,
    ),
    (
        "the client chooses",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, prefer_server_cipher_suites: false}",
        true,
        true,
    ),
    (
        "no cipher of HTTP/2, and none wanted",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]}\nhttp_server_config: {http2: false}",
        true,
        true,
    ),
    (
        "an invented curve",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, curve_preferences: [CurveP257]}",
        false,
        true,
    ),
    (
        "all curves",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]}",
        true,
        true,
    ),
    (
        "users",
        "basic_auth_users: {alice: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze, bob: $2y$10$hLqFl9jSjoAAy95Z/zw8Ye8wkdMBM8c5Bn1ptYqP/AXyV0.oy0S8m}",
        true,
        true,
    ),
    (
        "a password for a hash",
        "basic_auth_users: {john: doe}",
        false,
        true,
    ),
    (
        "headers",
        "http_server_config: {headers: {Content-Security-Policy: default-src 'self', X-Frame-Options: deny, X-Content-Type-Options: nosniff, X-XSS-Protection: '1', Strict-Transport-Security: max-age=1}}",
        true,
        true,
    ),
    (
        "a bad value of X-Content-Type-Options",
        "http_server_config: {headers: {X-Content-Type-Options: foo}}",
        false,
        true,
    ),
    (
        "a bad value of X-Frame-Options",
        "http_server_config: {headers: {X-Frame-Options: foo}}",
        false,
        true,
    ),
    (
        "a header that cannot be set",
        "http_server_config: {headers: {Server: foo}}",
        false,
        true,
    ),
    (
        "HTTP/2 off",
        "http_server_config: {http2: false}",
        true,
        true,
    ),
    // Where it is stricter: an endpoint that would be open or dead is a mistake.
    (
        "a version and no certificate",
        "tls_server_config: {min_version: TLS13}",
        false,
        false,
    ),
    (
        "no version left",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: TLS13, max_version: TLS12}",
        false,
        false,
    ),
    // Prometheus finds this one when it starts to serve, and not before.
    (
        "no cipher of HTTP/2",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, cipher_suites: [TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]}",
        false,
        false,
    ),
    (
        "a curve that is not spoken",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, curve_preferences: [CurveP521]}",
        false,
        false,
    ),
    // Younger than Debian's Prometheus.
    (
        "a rate limit",
        "rate_limit: {interval: 1s, burst: 20}",
        true,
        false,
    ),
    (
        "names of clients",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAnyClientCert, client_allowed_sans: [a.example]}",
        true,
        false,
    ),
    (
        "names of clients without a policy",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_allowed_sans: [a.example]}",
        false,
        true,
    ),
    (
        "names of clients that may stay away",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequestClientCert, client_allowed_sans: [a.example]}",
        false,
        true,
    ),
];

#[test]
fn the_cases_of_the_exporters_toolkit_come_out_as_they_should() {
    let (directory, _, _) = place();
    for (name, text, good, _) in CASES {
        let file = write(directory.path(), "web.yml", text);
        let found = vllm_prober::config::WebConfig::load(&file);
        assert_eq!(found.is_ok(), *good, "{name}: {found:?}");
    }
    // In place instead of in files.
    let inline = |name: &str| {
        let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
        text.replace('\n', "\n    ")
    };
    let text = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n  client_ca: |\n    {}\n  client_auth_type: RequireAndVerifyClientCert\n",
        inline("server.crt"),
        inline("server.key"),
        inline("ca.crt")
    );
    let file = write(directory.path(), "web.yml", &text);
    vllm_prober::config::WebConfig::load(&file).unwrap();
}

#[test]
#[ignore = "needs promtool"]
fn promtool_judges_the_cases_alike() {
    let (directory, _, _) = place();
    for (name, text, good, alike) in CASES {
        let file = write(directory.path(), "web.yml", text);
        let output = Command::new("promtool")
            .args(["check", "web-config"])
            .arg(&file)
            .output()
            .unwrap();
        let agrees = output.status.success() == *good;
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(agrees, *alike, "{name}: {said}");
    }
}
