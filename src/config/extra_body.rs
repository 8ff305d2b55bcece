//! The `extra_body` of a workload: fields of the request that only some servers know.
//!
//! What the prober sets itself is not for it. Such a field would stand in the body twice, and what was
//! measured would not be what the workload says.

use serde_json::{Map, Value};

use super::field::Field;
use super::section::Key;
use super::source::Fault;

/// The fields of `field` as JSON, without those that the prober sets itself, which are mistakes.
pub(super) fn read_extra_body(field: &Field<'_>) -> Map<String, Value> {
    let entries = field.entries().into_iter();
    let fields = entries.filter_map(|(key, field): (Key<'_>, Field<'_>)| {
        if let Some(mend) = mend(key.name) {
            key.fault(Fault::new(
                format!("`{}` is set by the prober itself", key.name),
                mend,
            ));
            return None;
        }
        Some((key.name.to_owned(), field.json()))
    });
    fields.collect()
}

/// What to write instead of a field that the prober sets itself; `None` for any other field.
fn mend(name: &str) -> Option<String> {
    let instead = |field: &str| format!("write `{field}` in the workload instead");
    let never = |why: &str| format!("delete it, it cannot be set: {why}");
    Some(match name {
        "max_tokens" | "max_completion_tokens" => instead("max_tokens"),
        "min_tokens"
        | "temperature"
        | "stream"
        | "ignore_eos"
        | "chat_template_kwargs"
        | "priority" => instead(name),
        "messages" => instead("prompt` or `prompt_file"),
        "cache_salt" => instead("prefix_cache"),
        "model" => "write `model` in the deployment instead".to_owned(),
        "stream_options" => never("the prober asks for the usage, which it counts tokens by"),
        "n" => never("one answer is measured for each request"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::chat::request_body;
    use crate::workload::Workload;

    #[test]
    fn whatever_a_request_can_carry_is_set_by_the_prober_itself() {
        let mut workload = Workload::reference("a prompt");
        workload.min_tokens = Some(1);
        workload.ignore_eos = true;
        workload.chat_template_kwargs = Some(Map::new());
        workload.priority = Some(0);
        let body = request_body(&workload, "a model", Some("a salt"));
        let body: Map<String, Value> = serde_json::from_slice(&body).unwrap();
        assert!(body.len() > 8, "{body:?}");
        for name in body
            .keys()
            .map(String::as_str)
            .chain(["max_completion_tokens", "n"])
        {
            assert!(mend(name).is_some(), "{name}");
        }
        assert_eq!(mend("seed"), None);
    }
}
