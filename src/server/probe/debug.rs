//! What `/probe` says with `debug=true`: the log of the run, the metrics that would have been the answer, and what the
//! target is. Where a secret is read from is shown, and no secret is known here.

use std::fmt::Write as _;

use crate::deployment::{Deployment, MetricsSource};
use crate::endpoint::{HeaderSource, Login, Scheme, SecretSource};
use crate::lifecycle::Probed;
use crate::reach::Reach;
use crate::server::metrics;
use crate::workload::Workload;

/// The page.
pub(super) fn page(probed: &Probed) -> Vec<u8> {
    let mut page = format!("Log of the probe:\n\n{}", probed.log.text());
    page.push_str("\nMetrics that would have been returned:\n\n");
    let mut page = page.into_bytes();
    page.extend(metrics::of_probe(probed));
    let mut target = "\nConfiguration of the target:\n\n".to_owned();
    // Writing to memory does not fail.
    let _ = deployment(&mut target, &probed.deployment);
    let _ = workload(&mut target, &probed.workload, probed);
    page.extend(target.into_bytes());
    page
}

fn deployment(to: &mut String, of: &Deployment) -> std::fmt::Result {
    writeln!(to, "target: {}", of.name)?;
    writeln!(to, "base_url: {}", of.endpoint.base_url())?;
    let model = of.model.as_deref();
    writeln!(to, "model: {}", model.unwrap_or("asked of the server"))?;
    writeln!(to, "lane: {}", of.lane)?;
    writeln!(to, "auth: {}", auth(of))?;
    for (name, source) in &of.endpoint.auth.headers {
        let value = match source {
            HeaderSource::Plain(value) => value.clone(),
            HeaderSource::Secret(source) => format!("<secret>, {}", origin(source)),
        };
        writeln!(to, "header {name}: {value}")?;
    }
    let route = &of.endpoint.route;
    if let Some(file) = &route.tls.ca_file {
        writeln!(to, "ca_file: {}", file.display())?;
    }
    if let Some(certificate) = &route.tls.certificate {
        writeln!(to, "cert_file: {}", certificate.cert_file.display())?;
    }
    if let Some(name) = &route.tls.server_name {
        writeln!(to, "server_name: {name}")?;
    }
    if route.tls.insecure_skip_verify {
        writeln!(to, "insecure_skip_verify: true")?;
    }
    if let Some(proxy) = &route.proxy {
        writeln!(to, "proxy_url: {}", proxy.url)?;
    }
    match &of.metrics {
        MetricsSource::Own => {}
        MetricsSource::At(url) => writeln!(to, "metrics_url: {url}")?,
        MetricsSource::Off => writeln!(to, "metrics_url: off")?,
    }
    if let Reach::Elsewhere(allowed) = &route.reach {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        writeln!(to, "local_addresses: [{}]", allowed.join(", "))?;
    }
    Ok(())
}

fn auth(of: &Deployment) -> String {
    match &of.endpoint.auth.scheme {
        None => "none".to_owned(),
        Some(Scheme::Bearer(source)) => format!("Bearer <secret>, {}", origin(source)),
        Some(Scheme::Basic(Login { username, password })) => {
            format!("Basic {username}:<secret>, {}", origin(password))
        }
        Some(Scheme::ClientCredentials(credentials)) => format!(
            "OAuth 2.0 as {} at {}, <secret>, {}",
            credentials.client_id,
            credentials.token_url,
            origin(&credentials.client_secret)
        ),
    }
}

fn origin(source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => format!("from the file {}", path.display()),
        SecretSource::Env(name) => format!("from the variable {name}"),
    }
}

fn workload(to: &mut String, of: &Workload, probed: &Probed) -> std::fmt::Result {
    writeln!(to, "workload: {}", of.name)?;
    writeln!(to, "requests: {}", of.requests)?;
    writeln!(to, "warmup: {}", of.warmup)?;
    writeln!(to, "max_tokens: {}", of.max_tokens)?;
    writeln!(to, "stream: {}", of.stream)?;
    writeln!(to, "prefix_cache: {}", of.prefix_cache.label())?;
    writeln!(to, "timeout: {:.3}s", probed.limit.as_secs_f64())
}
