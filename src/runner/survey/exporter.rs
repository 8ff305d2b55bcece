//! What the labels on another Prometheus page tell, such as a DCGM exporter's: driver, GPU and MIG profile.

use super::Answer;
use crate::client::text_format::Sample;
use crate::client::watch::Watch;
use crate::deployment::ExporterPage;
use crate::environment::{EnvironmentSource, Finding};

/// Reads the page and takes the labels of the first series that matches.
pub(super) async fn read(watch: &Watch, page: &ExporterPage) -> Answer {
    let body = watch.foreign_document(&page.url).await?;
    let text = String::from_utf8_lossy(&body);
    take(&text, page)
}

fn take(text: &str, page: &ExporterPage) -> Answer {
    let matches = |sample: &Sample<'_>| {
        sample.name == page.metric
            && page
                .matching
                .iter()
                .all(|(name, value)| sample.label(name).as_deref() == Some(value))
    };
    let sample = text
        .lines()
        .filter_map(Sample::parse)
        .find(matches)
        .ok_or_else(|| format!("{} has no such series of {}", page.url, page.metric))?;
    let findings = page.take.iter().filter_map(|(field, label)| {
        Finding::new(*field, sample.label(label)?, EnvironmentSource::Exporter)
    });
    Ok(findings.collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::environment::EnvironmentField;

    #[test]
    fn the_labels_of_the_matching_series_are_taken() {
        let text = r#"# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).
DCGM_FI_DEV_SM_CLOCK{gpu="0",modelName="NVIDIA H100",GPU_I_PROFILE="1g.10gb",DCGM_FI_DRIVER_VERSION="580.95.05"} 1980
DCGM_FI_DEV_SM_CLOCK{gpu="1",modelName="NVIDIA H200",GPU_I_PROFILE="",DCGM_FI_DRIVER_VERSION="580.95.05"} 1980
"#;
        let page = |gpu: &str| ExporterPage {
            url: "http://gpu-host:9400/metrics".parse().unwrap(),
            metric: "DCGM_FI_DEV_SM_CLOCK".to_owned(),
            matching: BTreeMap::from([("gpu".to_owned(), gpu.to_owned())]),
            take: BTreeMap::from([
                (EnvironmentField::Gpu, "modelName".to_owned()),
                (
                    EnvironmentField::Driver,
                    "DCGM_FI_DRIVER_VERSION".to_owned(),
                ),
                (EnvironmentField::MigProfile, "GPU_I_PROFILE".to_owned()),
            ]),
        };
        let values = |gpu| {
            let found = take(text, &page(gpu)).unwrap().into_iter();
            found.map(|finding| finding.value).collect::<Vec<_>>()
        };
        assert_eq!(values("0"), ["NVIDIA H100", "1g.10gb", "580.95.05"]);
        assert_eq!(values("1"), ["NVIDIA H200", "580.95.05"]);
        assert!(
            take(text, &page("2"))
                .unwrap_err()
                .contains("no such series")
        );
    }
}
