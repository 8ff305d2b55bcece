//! What a deployment runs on: what is known of it, from where, and whether it has changed.
//!
//! A change of speed is only half a finding; the other half is what changed with it. What the operator declares is
//! never replaced by what is observed: it is checked, and a contradiction is told. Learning something that was
//! unknown before makes the picture finer, and is no change.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::closed_set::closed_set;

closed_set! {
    /// What can be known of where a deployment runs.
    EnvironmentField:
    Precision "precision" "The weights' number format, such as nvfp4, fp8 or bf16.",
    Quantization "quantization" "How the weights are quantised, in the server's words.",
    Model "model" "What the server loaded: a name or a path.",
    ModelRevision "model_revision" "The revision of the model.",
    VllmVersion "vllm_version" "The version of vLLM.",
    SystemFingerprint "system_fingerprint" "A hash by the server over its own configuration.",
    Gpu "gpu" "The name of the GPU.",
    GpuCount "gpu_count" "How many GPUs the model runs on.",
    MigProfile "mig_profile" "The part of the GPU that it has.",
    Driver "driver" "The version of the GPU's driver.",
    Cuda "cuda" "The version of CUDA.",
    KvCacheDtype "kv_cache_dtype" "The number format of the KV cache.",
    BlockSize "block_size" "Tokens in a block of the KV cache.",
    MaxModelLen "max_model_len" "The longest context that it serves.",
    KvBlocks "kv_blocks" "Blocks of the KV cache: what memory was left, so a restart may move it, and it is no part of the fingerprint.",
}

closed_set! {
    /// Where something is known from, the best first.
    EnvironmentSource:
    Operator "operator" "The configuration.",
    ServerInfo "server_info" "The server's `/server_info`, in development mode only.",
    Reply "reply" "The answers themselves.",
    Version "version" "The server's `/version`.",
    Models "models" "The server's `/v1/models`.",
    Metrics "metrics" "The server's own metrics.",
    Exporter "exporter" "Another Prometheus page, such as that of a DCGM exporter.",
    Nvml "nvml" "NVIDIA's management library on this machine.",
    File "file" "A file.",
    Command "command" "The output of a command.",
}

impl EnvironmentSource {
    /// The source of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|source| source.label() == name)
    }
}

impl EnvironmentField {
    /// The field of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|field| field.label() == name)
    }

    /// Whether another value of it is another environment.
    pub fn is_identity(self) -> bool {
        self != Self::KvBlocks
    }
}

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub field: EnvironmentField,
    /// As it was found, without blanks at its ends.
    pub value: String,
    /// Where.
    pub source: EnvironmentSource,
}

impl Finding {
    /// A finding; `None` when there is nothing in it.
    pub fn new(
        field: EnvironmentField,
        value: impl AsRef<str>,
        source: EnvironmentSource,
    ) -> Option<Self> {
        let value = value.as_ref().trim();
        (!value.is_empty()).then(|| Self {
            field,
            value: value.to_owned(),
            source,
        })
    }
}

/// All that is known of where a deployment runs, from each source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<(EnvironmentField, EnvironmentSource), String>);

impl Environment {
    /// Of several findings about one field from one source the first holds.
    pub fn of(findings: impl IntoIterator<Item = Finding>) -> Self {
        let mut known = BTreeMap::new();
        for finding in findings {
            known
                .entry((finding.field, finding.source))
                .or_insert(finding.value);
        }
        Self(known)
    }

    /// What each source says of a field, the best source first.
    pub fn all(&self, field: EnvironmentField) -> impl Iterator<Item = (EnvironmentSource, &str)> {
        let (first, last) = (
            EnvironmentSource::ALL.first(),
            EnvironmentSource::ALL.last(),
        );
        let range = first
            .zip(last)
            .map(|(first, last)| (field, *first)..=(field, *last));
        range
            .into_iter()
            .flat_map(|range| self.0.range(range))
            .map(|((_, source), value)| (*source, value.as_str()))
    }

    /// The value of a field by the best source that has it.
    pub fn get(&self, field: EnvironmentField) -> Option<&str> {
        self.all(field).next().map(|(_, value)| value)
    }

    /// Every known field by its best source, in the order in which they are shown.
    pub fn known(&self) -> impl Iterator<Item = Finding> + '_ {
        EnvironmentField::ALL.iter().filter_map(|field| {
            let (source, value) = self.all(*field).next()?;
            Finding::new(*field, value, source)
        })
    }

    /// Fields of which nothing is known.
    pub fn unknown(&self) -> usize {
        EnvironmentField::ALL.len() - self.known().count()
    }

    /// Every finding that contradicts what the operator declared. Case and a local part of a version, as in
    /// `0.13.0+cpu`, are no contradiction.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let plain = |value: &str| {
            let value = value.to_lowercase();
            value.split('+').next().unwrap_or_default().to_owned()
        };
        let of_field = |field: &EnvironmentField| {
            let mut all = self.all(*field);
            let declared = all.next();
            let declared = declared.filter(|(source, _)| *source == EnvironmentSource::Operator);
            let contradicting = all
                .find(|(_, found)| declared.is_some_and(|(_, said)| plain(said) != plain(found)));
            declared
                .zip(contradicting)
                .map(|((_, declared), (source, found))| Contradiction {
                    field: *field,
                    declared: declared.to_owned(),
                    found: found.to_owned(),
                    source,
                })
        };
        EnvironmentField::ALL.iter().filter_map(of_field).collect()
    }

    /// Sixteen hexadecimal digits that stand for the identity fields that are known.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for finding in self.known().filter(|finding| finding.field.is_identity()) {
            let (name, value) = (finding.field.label(), &finding.value);
            hash.update(format!("{name}:{}={value};", value.len()));
        }
        let digest = hash.finalize();
        digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// What the operator declared and something else contradicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// What it is about.
    pub field: EnvironmentField,
    /// What the configuration says.
    pub declared: String,
    /// What was found.
    pub found: String,
    /// Where it was found.
    pub source: EnvironmentSource,
}

/// The environment that a deployment has had for a while, as fine as it is known by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// That of the environment as it was first known: what is learnt later does not move it.
    pub fingerprint: String,
    /// What is known.
    pub environment: Environment,
}

/// A field that has another value than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Which.
    pub field: EnvironmentField,
    /// Its value before.
    pub before: String,
    /// Its value now.
    pub after: String,
}

impl Generation {
    /// The first environment that is seen.
    pub fn first(environment: Environment) -> Self {
        Self {
            fingerprint: environment.fingerprint(),
            environment,
        }
    }

    /// Takes in what is seen now, and tells what has changed; then this is a generation of its own. What is not
    /// seen any more is taken to be as it was.
    pub fn observe(&mut self, seen: &Environment) -> Vec<FieldChange> {
        let identity = EnvironmentField::ALL
            .iter()
            .copied()
            .filter(|field| field.is_identity());
        let changes: Vec<FieldChange> = identity
            .filter_map(|field| field_change(field, &self.environment, seen))
            .collect();
        for change in &changes {
            // What other sources said of it before may be as old.
            self.environment
                .0
                .retain(|(field, _), _| *field != change.field);
        }
        let findings = seen.0.iter().map(|(key, value)| (*key, value.clone()));
        self.environment.0.extend(findings);
        if !changes.is_empty() {
            self.fingerprint = self.environment.fingerprint();
        }
        changes
    }
}

/// How a field has changed. The operator's word decides where there was one before and is one now. Otherwise it
/// has not changed if any source says what it said before: then only another source has come or gone.
fn field_change(
    field: EnvironmentField,
    before: &Environment,
    now: &Environment,
) -> Option<FieldChange> {
    let operator = (field, EnvironmentSource::Operator);
    let declared = before.0.get(&operator).zip(now.0.get(&operator));
    let (was, is) = match declared {
        Some((was, is)) => (was.as_str(), is.as_str()),
        None => (before.get(field)?, now.get(field)?),
    };
    let is_steady = declared.is_none()
        && now.all(field).any(|(source, value)| {
            before
                .0
                .get(&(field, source))
                .is_some_and(|was| was == value)
        });
    (was != is && !is_steady).then(|| FieldChange {
        field,
        before: was.to_owned(),
        after: is.to_owned(),
    })
}

/// The bits of a weight in a precision, by which a narrower one is known from a wider; `None` for one whose name says
/// nothing of it.
pub fn precision_bits(precision: &str) -> Option<u32> {
    match precision {
        "nvfp4" | "mxfp4" | "fp4" | "int4" | "awq" | "gptq" | "w4a16" => Some(4),
        "fp8" | "int8" | "w8a8" | "w8a16" => Some(8),
        "bf16" | "fp16" | "float16" | "bfloat16" => Some(16),
        "fp32" | "float32" => Some(32),
        _ => None,
    }
}

/// What the name of a model suggests of its precision: a hint for people, never a finding.
pub fn suggested_precision(model: &str) -> Option<&'static str> {
    let name = model.to_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    [
        ("nvfp4", "nvfp4"),
        ("fp4", "nvfp4"),
        ("mxfp4", "mxfp4"),
        ("fp8", "fp8"),
        ("w8a8", "int8"),
        ("int8", "int8"),
        ("w4a16", "int4"),
        ("awq", "int4"),
        ("gptq", "int4"),
        ("int4", "int4"),
        ("bf16", "bf16"),
        ("fp16", "fp16"),
    ]
    .into_iter()
    .find(|(word, _)| words.contains(word))
    .map(|(_, precision)| precision)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::EnvironmentField::{Cuda, Driver, Gpu, KvBlocks, VllmVersion};
    use super::EnvironmentSource::{Metrics, Operator, ServerInfo, Version};
    use super::*;

    fn found(field: EnvironmentField, value: &str, source: EnvironmentSource) -> Finding {
        Finding::new(field, value, source).unwrap()
    }

    fn environment(fields: &[(EnvironmentField, &str)]) -> Environment {
        Environment::of(
            fields
                .iter()
                .map(|(field, value)| found(*field, value, Metrics)),
        )
    }

    #[test]
    fn the_best_source_holds_whatever_the_order() {
        let (said, told, seen) = (
            found(Driver, "580.95.05", Operator),
            found(Driver, "581.00", ServerInfo),
            found(Driver, "582.00", Metrics),
        );
        for findings in [
            [said.clone(), told.clone(), seen.clone()],
            [seen.clone(), told.clone(), said.clone()],
        ] {
            assert_eq!(Environment::of(findings).get(Driver), Some("580.95.05"));
        }
        assert_eq!(Environment::of([seen, told]).get(Driver), Some("581.00"));
    }

    #[test]
    fn what_the_operator_declares_is_checked() {
        let findings = [
            found(Driver, "580.95.05", Operator),
            found(VllmVersion, "0.13.0", Operator),
            found(Gpu, "H100", Operator),
            found(VllmVersion, "0.13.0+cpu", Version),
            found(Gpu, "h100", Metrics),
            found(Driver, "570.00", Metrics),
            found(Cuda, "13.0", Metrics),
        ];
        let contradictions = Environment::of(findings).contradictions();
        assert_eq!(contradictions.len(), 1, "{contradictions:?}");
        assert_eq!(
            (
                contradictions[0].declared.as_str(),
                contradictions[0].found.as_str()
            ),
            ("580.95.05", "570.00")
        );
    }

    #[test]
    fn learning_is_no_change_and_forgetting_neither() {
        let mut generation = Generation::first(environment(&[(Driver, "580")]));
        let fingerprint = generation.fingerprint.clone();
        assert_eq!(
            generation.observe(&environment(&[(Driver, "580"), (Gpu, "H100")])),
            []
        );
        assert_eq!(generation.observe(&environment(&[(Gpu, "H100")])), []);
        // A restart may leave room for another number of blocks.
        assert_eq!(generation.observe(&environment(&[(KvBlocks, "512")])), []);
        assert_eq!(generation.observe(&environment(&[(KvBlocks, "500")])), []);
        assert_eq!(generation.fingerprint, fingerprint);
        assert_eq!(generation.environment.get(Driver), Some("580"));

        let changes = generation.observe(&environment(&[(Driver, "590"), (Cuda, "13")]));
        let driver = FieldChange {
            field: Driver,
            before: "580".to_owned(),
            after: "590".to_owned(),
        };
        assert_eq!(changes, [driver]);
        assert_ne!(generation.fingerprint, fingerprint);
    }

    #[test]
    fn another_source_for_the_same_is_no_change() {
        let both = Environment::of([
            found(Gpu, "H100", Operator),
            found(Gpu, "NVIDIA H100 80GB HBM3", Metrics),
        ]);
        let (mut generation, fingerprint) = (Generation::first(both.clone()), both.fingerprint());
        let exporter_only = environment(&[(Gpu, "NVIDIA H100 80GB HBM3")]);
        assert_eq!(generation.observe(&exporter_only), []);
        assert_eq!(generation.fingerprint, fingerprint);
        // The operator declares the upgrade that the server tells of too.
        let mut generation =
            Generation::first(Environment::of([found(VllmVersion, "0.13.0", Version)]));
        let upgraded = Environment::of([
            found(VllmVersion, "0.14.0", Version),
            found(VllmVersion, "0.14.0", Operator),
        ]);
        assert_eq!(generation.observe(&upgraded).len(), 1);
        // The operator's word decides, whatever is found.
        let say = |value| {
            Environment::of([
                found(Driver, value, Operator),
                found(Driver, "580", Metrics),
            ])
        };
        let mut generation = Generation::first(say("580"));
        assert_eq!(generation.observe(&say("590")).len(), 1);
        let mut generation = Generation::first(say("580"));
        let drifted = Environment::of([
            found(Driver, "580", Operator),
            found(Driver, "590", Metrics),
        ]);
        assert_eq!(generation.observe(&drifted), []);
        assert_eq!(generation.environment.contradictions().len(), 1);
    }

    #[test]
    fn what_says_nothing_is_no_finding() {
        for nothing in ["", "  "] {
            assert_eq!(Finding::new(Driver, nothing, Metrics), None, "{nothing:?}");
        }
        assert_eq!(found(Driver, " 580 ", Metrics).value, "580");
    }

    #[test]
    fn the_name_of_a_model_suggests_its_precision() {
        for (model, precision) in [
            ("RedHatAI/Qwen3-32B-NVFP4", Some("nvfp4")),
            ("Qwen/Qwen3-32B-FP8", Some("fp8")),
            ("Qwen/Qwen3-32B-AWQ", Some("int4")),
            ("Qwen/Qwen3-32B", None),
            ("team/alfp80", None),
        ] {
            assert_eq!(suggested_precision(model), precision, "{model}");
        }
    }

    proptest! {
        #[test]
        fn the_fingerprint_moves_with_every_identity_field(
            a in "[a-z0-9.=;:]{1,8}", b in "[a-z0-9.=;:]{1,8}",
        ) {
            let fingerprint = |driver: &str, cuda: &str| {
                let fields = [(Driver, driver), (Cuda, cuda)].into_iter();
                let findings = fields.filter_map(|(field, value)| Finding::new(field, value, Metrics));
                Environment::of(findings).fingerprint()
            };
            if a != b {
                prop_assert_ne!(fingerprint(&a, "x"), fingerprint(&b, "x"));
                prop_assert_ne!(fingerprint(&a, &b), fingerprint(&b, &a));
            }
        }
    }
}
