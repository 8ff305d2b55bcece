//! What the server tells of itself: `/v1/models`, and `/server_info` where it is in development mode.

use serde::Deserialize;
use serde_json::Value;

use super::Answer;
use crate::client::watch::Watch;
use crate::environment::{EnvironmentField, EnvironmentSource, Finding};

/// Asks each of the server's own documents.
pub(super) async fn ask(watch: &Watch, model: Option<&str>) -> [Answer; 2] {
    let (models, info) = tokio::join!(
        watch.document("/v1/models", None),
        watch.document("/server_info", Some("config_format=json")),
    );
    [
        models.and_then(|body| of_models(&body, model)),
        info.and_then(|body| of_server_info(&body)),
    ]
}

/// What `/v1/models` says of the model of that name, or of the only one.
fn of_models(body: &[u8], model: Option<&str>) -> Answer {
    #[derive(Deserialize)]
    struct Models {
        data: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: String,
        root: Option<String>,
        max_model_len: Option<u64>,
    }
    let models: Models =
        serde_json::from_slice(body).map_err(|error| format!("/v1/models: {error}"))?;
    let served = match model {
        Some(name) => models.data.iter().find(|served| served.id == name),
        None => models.data.first().filter(|_| models.data.len() == 1),
    };
    let served = served.ok_or("/v1/models does not tell of the model")?;
    let max_model_len = served.max_model_len.map(|tokens| tokens.to_string());
    Ok(findings(
        EnvironmentSource::Models,
        [
            (EnvironmentField::Model, served.root.clone()),
            (EnvironmentField::MaxModelLen, max_model_len),
        ],
    ))
}

/// What `/server_info` says. Without quantisation it says null, which is something to know.
fn of_server_info(body: &[u8]) -> Answer {
    let info: Value =
        serde_json::from_slice(body).map_err(|error| format!("/server_info: {error}"))?;
    let config = &info["vllm_config"];
    if !config.is_object() {
        return Err("/server_info has no vllm_config".to_owned());
    }
    let model = &config["model_config"];
    let gpus = config["parallel_config"]["world_size"].as_u64();
    Ok(findings(
        EnvironmentSource::ServerInfo,
        [
            (EnvironmentField::Model, text(&model["model"])),
            (
                EnvironmentField::ModelRevision,
                text(&model["revision"]).filter(|revision| revision != "none"),
            ),
            (EnvironmentField::Quantization, text(&model["quantization"])),
            (EnvironmentField::MaxModelLen, text(&model["max_model_len"])),
            (
                EnvironmentField::KvCacheDtype,
                text(&config["cache_config"]["cache_dtype"]),
            ),
            (EnvironmentField::GpuCount, gpus.map(|n| n.to_string())),
            (
                EnvironmentField::Driver,
                text(&info["system_env"]["nvidia_driver_version"]),
            ),
            (
                EnvironmentField::Cuda,
                text(&info["system_env"]["cuda_runtime_version"]),
            ),
        ],
    ))
}

/// A value as text; `None` where the document has no such field.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

fn findings<const N: usize>(
    source: EnvironmentSource,
    said: [(EnvironmentField, Option<String>); N],
) -> Vec<Finding> {
    said.into_iter()
        .filter_map(|(field, value)| Finding::new(field, value?, source))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(answer: Answer) -> Vec<(&'static str, String)> {
        answer
            .unwrap()
            .into_iter()
            .map(|finding| (finding.field.label(), finding.value))
            .collect()
    }

    #[test]
    fn the_model_asked_for_is_the_one_that_is_told_of() {
        let body = br#"{"object":"list","data":[
            {"id":"base","root":"/models/base-FP8","max_model_len":4096},
            {"id":"lora","root":"/adapters/x","parent":"base"}]}"#;
        let expected = [
            ("model", "/models/base-FP8".to_owned()),
            ("max_model_len", "4096".to_owned()),
        ];
        assert_eq!(values(of_models(body, Some("base"))), expected);
        assert!(of_models(body, None).is_err(), "which of the two?");
        assert!(of_models(body, Some("other")).is_err());
        assert!(of_models(b"<html>", None).is_err());
    }

    #[test]
    fn the_configuration_is_read_where_it_is_told() {
        let body = br#"{"vllm_config":{"model_config":{"model":"m","quantization":"fp8","revision":null,
            "max_model_len":4096},"cache_config":{"cache_dtype":"auto"},"parallel_config":{"world_size":2}},
            "system_env":{"nvidia_driver_version":"580.95.05"}}"#;
        let found = values(of_server_info(body));
        for expected in [
            ("model", "m"),
            ("quantization", "fp8"),
            ("gpu_count", "2"),
            ("driver", "580.95.05"),
            ("kv_cache_dtype", "auto"),
        ] {
            assert!(
                found.contains(&(expected.0, expected.1.to_owned())),
                "{expected:?} in {found:?}"
            );
        }
        assert!(of_server_info(br#"{"detail":"Not Found"}"#).is_err());
    }
}
