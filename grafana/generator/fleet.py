"""The board to open first: which deployments are slower, since when, what changed, and how sure that is."""

from blocks import (GREEN, GREY, ORANGE, RED, VERDICT, YELLOW, Board, bar_gauge, color, link, now, override, rows,
                    series, stat, steps, table, timeline)
from queries import (CONDITION, CONDITION_WORDS, HEADLINE, IDENTITY, LATENCIES, annotations, deployment,
                     fields_changed, per, probe)

DEPLOYMENT_LINK = link("vllm-prober-deployment", "Runs of ${__data.fields.Deployment}",
                       deployment="${__data.fields.Deployment}")
CHANGES_LINK = link("vllm-prober-changes", "What changed on ${__data.fields.Deployment}",
                    deployment="${__data.fields.Deployment}")


def count(title, description, expr, *, bad=RED, no_value="0"):
    """How many deployments something is true of; coloured from one on."""
    return stat(title, description, [now(f"count({expr})")], "none",
                thresholds=steps(GREEN, (bad, 1)), no_value=no_value, decimals=0)


def board():
    made = Board("vllm-prober-fleet", "Which deployments are slower, since when, why, and how sure that is.",
                 annotations=annotations(verdicts=False, restarts=False))
    made.add(
        3, 4,
        stat("Probers", "Exporters that answer scrapes. None: whatever else is shown here is not current.",
             [now("count(vllm_probe_build_info)")], "none", thresholds=steps(RED, (GREEN, 1)), no_value="none", decimals=0),
        stat("Deployments", "Chosen deployments that are probed with this workload.",
             [now(f"count({per(probe('runs_total'))})")], "none", thresholds=steps(GREY), no_value="none", decimals=0),
        count("Down or wedged", "They do not answer, or say that they are well while no token comes.",
              per(deployment("deployment_state", state="down|wedged") + " == 1")),
        count("Slower", "Judged slower in decode tokens per second, against the environment before or against the baseline. "
              "Acknowledged ones are counted too.", f"min by (deployment) ({probe('verdict', **HEADLINE)}) == -1"),
        count("Latency up", "Judged slower in the median of TTFT, TPOT or end-to-end latency.",
              f"min by (deployment) ({probe('verdict', **LATENCIES)}) == -1"),
        count("Runs not valid", "The last run does not count, for whatever reason.",
              per(probe("success") + " == 0"), bad=ORANGE),
        count("Stale", "No run has finished for three intervals.",
              f"time() - {per(probe('last_run_timestamp_seconds'))} > 3 * {per(probe('interval_seconds'))}", bad=ORANGE),
        count("Learning", "Fewer than ten runs in the baseline: nothing can be judged against it yet.",
              f"{per(probe('baseline_runs'))} < 10", bad=YELLOW),
    )
    made.add(24, 11, deployments())
    made.add(24, 8, timeline(
        "Since when", "How each deployment was, the most worrying first that held at the time. The legend of the table above.",
        [series(CONDITION, "{{deployment}}")], CONDITION_WORDS, no_value="not probed"))
    made.add(12, 9, what_changed(), worst())
    made.add(24, 6, firing())
    return made


def deployments():
    ratio = {"comparison": "baseline"} | HEADLINE
    slower_now = f"min by (deployment) ({probe('verdict', **HEADLINE)}) == -1"
    good = f"{per(probe('runs_total'))} unless {slower_now}"
    queries = [
        CONDITION,
        per(deployment("deployment_info"), "deployment", *IDENTITY[:4]),
        per(probe("run_decode_tokens_per_second")),
        per(probe("change_ratio", **ratio)) + " - 1",
        per(probe("change_lower_ratio", **ratio)) + " - 1",
        per(probe("change_upper_ratio", **ratio)) + " - 1",
        f"min by (deployment) ({probe('verdict', **HEADLINE)})",
        per(probe("minimum_detectable_change_ratio", **HEADLINE)),
        f"1000 * (max_over_time(timestamp({good})[$__range:$__interval]) and {slower_now})",
        f"1000 * {per(deployment('environment_changed_timestamp_seconds'))}",
        f"1000 * {per(probe('last_run_timestamp_seconds'))}",
    ]
    columns = {
        "Value #A": "Condition", "deployment": "Deployment", "model": "Model", "precision": "Precision",
        "vllm_version": "vLLM", "driver": "Driver", "Value #C": "tok/s", "Value #D": "Against baseline",
        "Value #E": "at least", "Value #F": "at most", "Value #G": "Verdict", "Value #H": "Would see",
        "Value #I": "Slower since", "Value #J": "Environment changed", "Value #K": "Last run",
    }
    change = {"unit": "percentunit", "decimals": 1, "custom__width": 90}
    ago = {"unit": "dateTimeFromNow", "custom__width": 150}
    return table(
        "Deployments",
        "The most worrying first. Against baseline: the level of decode tokens per second now, with its 95 % interval from "
        "«at least» to «at most». Would see: the least worsening that these runs would show. Slower since: the last moment of "
        "the shown time range without that verdict; empty when it is older. A rate is absent while the last run does not count.",
        [rows(query) for query in queries], "none",
        columns=columns, sort=[("Condition", True), ("Against baseline", False)], hidden=("Value #B",), no_value="",
        overrides=[
            override("Condition", mappings=CONDITION_WORDS, custom__width=170,
                     custom__cellOptions={"type": "color-background", "mode": "basic"}),
            override("Deployment", links=[DEPLOYMENT_LINK, CHANGES_LINK], custom__minWidth=180),
            override("Model", custom__minWidth=180),
            override("/Precision|vLLM|Driver/", custom__width=100),
            override("tok/s", unit="none", decimals=1, custom__width=90),
            override("Against baseline", unit="percentunit", decimals=1, custom__width=130,
                     thresholds=steps(RED, ("text", -0.03), (GREEN, 0.03)), custom__cellOptions={"type": "color-text"}),
            override("/at (least|most)/", **change),
            override("Verdict", mappings=VERDICT, custom__width=100, custom__cellOptions={"type": "color-text"}),
            override("Would see", **change),
            override("/Slower since|Environment changed|Last run/", **ago),
        ],
    )


def what_changed():
    return table(
        "What changed",
        "Fields of the environment that changed within the shown time range, the latest first, and what the deployment runs on "
        "since. Changes to vLLM, driver, CUDA or model are the usual reason of a new speed.",
        [rows(fields_changed("$__range"))], "dateTimeAsIso",
        columns={"Value": "When", "deployment": "Deployment", "field": "Field", "vllm_version": "vLLM", "driver": "Driver",
                 "cuda": "CUDA", "gpu": "GPU", "model": "Model", "precision": "Precision"},
        hidden=("mig_profile", "quantization"), sort=[("When", True)], no_value="nothing changed",
        overrides=[override("Deployment", links=[CHANGES_LINK])],
    )


def worst():
    ratio = {"comparison": "baseline"} | HEADLINE
    return bar_gauge(
        "Worst ten against their baseline",
        "Decode tokens per second now against the pinned baseline. Red begins at the default tolerance of 3 %; whether it is more "
        "than noise is the verdict's to say.",
        [now(f"sort(bottomk(10, {per(probe('change_ratio', **ratio))} - 1))", "{{deployment}}")], "percentunit",
        min=-0.3, max=0.1, decimals=1, thresholds=steps(RED, (GREY, -0.03), (GREEN, 0.03)), no_value="no baseline yet",
    )


def firing():
    labels = "alertname, severity, deployment, workload"
    firing_now = 'ALERTS{alertname=~"Vllm.+", alertstate="firing"}'
    return table(
        "Firing alerts",
        "Alerts of the prober's rules that fire in this Prometheus, and since when their condition holds. Empty when none does, or "
        "when the rules are not loaded.",
        [rows(f'1000 * max by ({labels}) (ALERTS_FOR_STATE{{alertname=~"Vllm.+"}} and ignoring (alertstate) {firing_now})')],
        "dateTimeFromNow",
        columns={"severity": "Severity", "alertname": "Alert", "deployment": "Deployment", "workload": "Workload",
                 "Value": "Holds since"},
        sort=[("Severity", False), ("Holds since", True)], no_value="none",
        overrides=[
            override("Deployment", links=[DEPLOYMENT_LINK]),
            override("Severity", custom__cellOptions={"type": "color-text"}, custom__width=100, mappings=[
                {"type": "value", "options": {"critical": {"color": RED, "index": 0}, "warning": {"color": ORANGE, "index": 1},
                                              "info": {"color": GREY, "index": 2}}}]),
        ],
    )
