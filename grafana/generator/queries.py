"""What several dashboards ask, in one wording: which series were chosen, how a deployment is, what has changed."""

from blocks import BLUE, GREEN, GREY, ORANGE, RED, YELLOW, annotation, words


def probe(name, **labels):
    """A metric of the chosen probes."""
    return _metric(name, {"workload": "$workload"} | labels)


def deployment(name, **labels):
    """A metric of the chosen deployments."""
    return _metric(name, labels)


def _metric(name, labels):
    matchers = ["deployment=~\"$deployment\""]
    for label, value in labels.items():
        operator = "=~" if "|" in value or ".+" in value else "="
        matchers.append(f'{label}{operator}"{value}"')
    return f"vllm_probe_{name}{{{', '.join(matchers)}}}"


def per(expr, *labels):
    """One series for each value of the labels, whoever scraped it."""
    return f"max by ({', '.join(labels or ('deployment',))}) ({expr})"


IDENTITY = ("model", "precision", "vllm_version", "driver", "cuda", "gpu", "mig_profile", "quantization")

HEADLINE = {"measure": "decode_tokens_rate"}
LATENCIES = {"measure": "ttft_p50|tpot_p50|e2e_p50"}

# How a deployment is, in one number: the first line that holds. The order is that in which to worry.
_CONDITIONS = [
    (11, "DOWN", RED, per(deployment("deployment_state", state="down") + " == 1")),
    (10, "WEDGED", RED, per(deployment("deployment_state", state="wedged") + " == 1")),
    (9, "SLOWER", RED,
     f"(min by (deployment) ({probe('verdict', **HEADLINE)}) == -1 unless {per(probe('acknowledged') + ' == 1')})"),
    (8, "LATENCY", RED,
     f"(min by (deployment) ({probe('verdict', **LATENCIES)}) == -1 unless {per(probe('acknowledged') + ' == 1')})"),
    (7, "STALE", ORANGE,
     f"(time() - {per(probe('last_run_timestamp_seconds'))} > 3 * {per(probe('interval_seconds'))})"),
    (6, "contaminated", YELLOW, per(probe("run_contaminated") + " == 1")),
    (5, "run not valid", ORANGE, per(probe("success") + " == 0")),
    (4, "saturated", YELLOW, per(deployment("deployment_state", state="saturated") + " == 1")),
    (3, "slower, acknowledged", BLUE, f"(min by (deployment) ({probe('verdict')}) == -1)"),
    (2, "asleep", GREY, per(deployment("deployment_state", state="asleep") + " == 1")),
    (1, "learning", GREY, f"(({per(probe('baseline_runs'))} or {per(probe('runs_total'))} * 0) < 10)"),
    (0, "steady", GREEN, per(probe("runs_total"))),
]

CONDITION = "\nor ".join(f"0 * {expr} + {code}" for code, _, _, expr in _CONDITIONS)
CONDITION_WORDS = words({code: (text, color) for code, text, color, _ in _CONDITIONS})

ENVIRONMENT_AT_CHANGE = (
    f"1000 * {per(deployment('environment_changed_timestamp_seconds'))}"
    f" * on (deployment) group_right () {per(deployment('deployment_info'), 'deployment', *IDENTITY)}"
)


def fields_changed(window):
    """Fields that changed within `window`: when, in milliseconds, and what the deployment runs on since."""
    changed = f"sum by (deployment, field) (increase({deployment('environment_changes_total')}[{window}])) > 0"
    return f"0 * ({changed}) + on (deployment) group_left ({', '.join(IDENTITY)}) ({ENVIRONMENT_AT_CHANGE})"


def annotations(*, verdicts=True, restarts=True):
    """What happened, on every chart: shown by default where it is about few deployments."""
    regressed = f"max by (deployment) (-1 * {probe('verdict', **HEADLINE)}) > 0"
    improved = f"max by (deployment) ({probe('verdict', **HEADLINE)}) > 0"
    start = deployment("server_start_time_seconds")
    return [
        annotation("Environment changes", fields_changed("$__rate_interval"), "purple",
                   "{{deployment}}: {{field}} changed",
                   "Since then: vLLM {{vllm_version}}, driver {{driver}}, CUDA {{cuda}}, {{gpu}} {{mig_profile}}, "
                   "{{model}} as {{precision}} {{quantization}}", at_value=True),
        annotation("Slower, while it stands", regressed, RED, "{{deployment}} judged slower",
                   "Begins with the verdict and ends with its recovery.", enabled=verdicts),
        annotation("Faster, while it stands", improved, GREEN, "{{deployment}} judged faster",
                   "Begins with the verdict and ends with the next baseline.", enabled=verdicts),
        annotation("Server restarts", f"1000 * ({per(start)} > ${{__from:date:seconds}})", BLUE,
                   "{{deployment}}: server started", "The first run after a start is left out of every comparison.",
                   enabled=restarts, at_value=True),
    ]
