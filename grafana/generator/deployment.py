"""One deployment in all its runs: rates against the baseline, latencies, what does not count and why."""

from blocks import (BLUE, GREEN, GREY, ORANGE, RED, YELLOW, VERDICT, Board, band, bars, buckets, choice, color, dashed,
                    heatmap, lines, now, override, rows, series, shaded, stat, steps, table, timeline, words)
from queries import CONDITION, CONDITION_WORDS, HEADLINE, IDENTITY, annotations, deployment, per, probe

QUANTILES = ("0.5", "0.9", "0.95", "0.99")

STATES = {"ok": (0, GREEN), "saturated": (1, YELLOW), "asleep": (2, GREY), "unknown": (3, GREY), "wedged": (4, RED),
          "down": (5, RED)}


def board():
    tolerance = choice("tolerance", "Tolerance", {"0.03": "3 %", "0.01": "1 %", "0.02": "2 %", "0.05": "5 %", "0.1": "10 %"},
                       "Width of the band around the baseline.")
    made = Board("vllm-prober-deployment", "Every run of a deployment, and what was made of it.", variables=[tolerance],
                 annotations=annotations(), one_at_first=True)
    made.row("$deployment", repeat="deployment")
    made.add(3, 4, *summary())
    made.add(24, 4, identity())
    made.add(12, 9, decode_rate(), change())
    made.add(8, 8, rate("Requests per second", "QPS: completed requests by the run's wall time.", "run_requests_per_second",
                        "requests_rate", "reqps"),
             rate("Prompt tokens per second", "Accepted prompt tokens by the run's wall time: most come from the prefix cache when "
                  "it is warm.", "run_prompt_tokens_per_second", "prompt_tokens_rate", "none"),
             outcomes())
    made.add(12, 8,
             quantiles("Time to first token", "From sending a request to its first token.", "run_time_to_first_token_seconds",
                       "ttft_p50"),
             quantiles("Time per output token", "(last token - first token) / (tokens - 1) of a request.",
                       "run_time_per_output_token_seconds", "tpot_p50"),
             quantiles("End-to-end latency", "From sending a request to its last token.", "run_e2e_latency_seconds", "e2e_p50"),
             quantiles("Inter-token latency", "Gaps between chunks that bear tokens, of all requests of a run.",
                       "run_inter_token_latency_seconds"))
    made.add(8, 8, duration(), other_traffic(), server_side())
    made.add(8, 8, answers(), failures(), reasons())
    made.add(24, 5, states())
    made.add(12, 9,
             heatmap("End-to-end latency of requests", "How many requests took how long. Empty where request histograms are switched "
                     "off.", [buckets(f"sum by (le) (increase({probe('request_e2e_latency_seconds_bucket')}[$__rate_interval]))")], "s"),
             heatmap("Time to first token of requests", "How many requests waited how long. Empty where request histograms are "
                     "switched off.",
                     [buckets(f"sum by (le) (increase({probe('request_time_to_first_token_seconds_bucket')}[$__rate_interval]))")],
                     "s"))
    return made


def summary():
    ratio = {"comparison": "baseline"} | HEADLINE
    against = steps(RED, (GREY, -0.03), (GREEN, 0.03))
    return [
        stat("Condition", "The most worrying thing that holds now.", [now(CONDITION)], "none", mappings=CONDITION_WORDS,
             no_value="not probed"),
        stat("Decode tokens/s", "Of the last run; absent when that does not count.",
             [now(per(probe("run_decode_tokens_per_second")))], "none", background=False, decimals=1, no_value="does not count"),
        stat("Against baseline", "The present level of decode tokens per second against the pinned baseline.",
             [now(per(probe("change_ratio", **ratio)) + " - 1")], "percentunit", decimals=1, thresholds=against,
             no_value="no baseline yet"),
        stat("at least ... at most", "The 95 % interval of that.",
             [now(per(probe("change_lower_ratio", **ratio)) + " - 1", "at least"),
              now(per(probe("change_upper_ratio", **ratio)) + " - 1", "at most")], "percentunit", background=False,
             decimals=1, no_value="no baseline yet"),
        stat("Verdict", "Regressed or improved: the worse of the comparisons with the environment before and with the baseline.",
             [now(f"min by (deployment) ({probe('verdict', **HEADLINE)})")], "none", mappings=VERDICT, no_value="not yet"),
        stat("Would see", "The least worsening that would be found in nine cases of ten within 24 runs.",
             [now(per(probe("minimum_detectable_change_ratio", **HEADLINE)))], "percentunit", decimals=1,
             thresholds=steps(GREY, (YELLOW, 0.05), (ORANGE, 0.1)), no_value="not yet"),
        stat("Last run", "When the last run finished, valid or not.",
             [now(f"1000 * {per(probe('last_run_timestamp_seconds'))}")], "dateTimeFromNow", background=False,
             no_value="never"),
        stat("Next run", "The slot of the next run; in the past while that run waits.",
             [now(f"1000 * {per(probe('next_run_timestamp_seconds'))}")], "dateTimeFromNow", background=False,
             no_value="none"),
    ]


def identity():
    queries = [per(deployment("deployment_info"), "deployment", "family", "lane", *IDENTITY),
               per(deployment("environment_info"), "deployment", "fingerprint"),
               f"1000 * {per(deployment('environment_changed_timestamp_seconds'))}",
               f"1000 * {per(deployment('server_start_time_seconds'))}",
               per(deployment("environment_unknown_fields")),
               f"sum by (deployment) ({deployment('environment_contradicted')})"]
    columns = {"deployment": "Deployment", "model": "Model", "precision": "Precision", "quantization": "Quantization",
               "vllm_version": "vLLM", "driver": "Driver", "cuda": "CUDA", "gpu": "GPU", "mig_profile": "MIG", "lane": "Lane",
               "fingerprint": "Fingerprint", "Value #C": "Changed", "Value #D": "Server started", "Value #E": "Unknown fields",
               "Value #F": "Contradicted fields"}
    return table("What it runs on", "From the configuration, the server and whatever else is asked. Contradicted: something else was "
                 "found than the configuration declares.", [rows(query) for query in queries], "none", columns=columns,
                 hidden=("family", "Value #A", "Value #B"), no_value="",
                 overrides=[override("/Changed|Server started/", unit="dateTimeFromNow"),
                            override("Contradicted fields", thresholds=steps("text", (ORANGE, 1)),
                                     custom__cellOptions={"type": "color-text"})])


def _shades():
    """What lies behind every chart of figures."""
    return [series(per(probe("run_contaminated") + " == 1"), "contaminated"),
            series(f"{per(probe('success') + ' == 0')} + 1 unless {per(probe('run_contaminated') + ' == 1')}", "not valid")]


SHADES = [shaded("contaminated", ORANGE), shaded("not valid", GREY)]


def _against_baseline(measure, tolerance):
    baseline = per(probe("baseline", measure=measure))
    queries = [series(baseline, "baseline"), series(f"{baseline} * (1 - {tolerance})", "tolerance, below"),
               series(f"{baseline} * (1 + {tolerance})", "tolerance, above")]
    drawn = [dashed("baseline", color=color(GREY)), *band("tolerance, below", "tolerance, above", GREY)]
    return queries, drawn


def rate(title, description, metric, measure, unit):
    """A rate of every run with its baseline. No line is drawn over a run that does not count."""
    queries, drawn = _against_baseline(measure, "$tolerance")
    return lines(title, f"{description} Dashed: the pinned baseline with the chosen tolerance around it. Orange: contaminated by other "
                 "traffic. Grey: not valid.", [series(per(probe(metric)), "each run"), *queries, *_shades()], unit,
                 overrides=[override("each run", color=color(BLUE)), *drawn, *SHADES])


def decode_rate():
    return rate("Decode tokens per second", "Completion tokens by the run's wall time, the headline.",
                "run_decode_tokens_per_second", "decode_tokens_rate", "none")


def change():
    parts = []
    for comparison, shade in (("baseline", BLUE), ("previous", "purple")):
        labels = {"comparison": comparison} | HEADLINE
        parts.append(([series(per(probe(f"change_{end}ratio", **labels)) + " - 1", f"{comparison}{name}")
                       for end, name in (("lower_", ", at least"), ("upper_", ", at most"), ("", ""))],
                      [override(comparison, color=color(shade)),
                       *band(f"{comparison}, at least", f"{comparison}, at most", shade)]))
    return lines("Change of decode tokens per second", "The present level against the pinned baseline and against the environment "
                 "before its last change, each with its 95 % interval. A change is real when the whole band has left zero.",
                 [query for queries, _ in parts for query in queries], "percentunit", decimals=1,
                 overrides=[one for _, overrides in parts for one in overrides],
                 thresholds=steps("transparent", (GREY, 0)), custom={"thresholdsStyle": {"mode": "line"}},
                 no_value="too few runs yet")


def quantiles(title, description, metric, measure=None):
    targets = [series(per(probe(metric, quantile=quantile)), f"p{float(quantile) * 100:.0f}") for quantile in QUANTILES]
    drawn = [override("p50", color=color(BLUE))]
    if measure:
        queries, more = _against_baseline(measure, "0.1" if measure == "ttft_p50" else "$tolerance")
        targets, drawn = [*targets, *queries], [*drawn, *more]
        description += " Dashed: the baseline of the median, with its tolerance."
    return lines(title, description + " Exact quantiles of each run.", [*targets, *_shades()], "s",
                 overrides=[*drawn, *SHADES])


def outcomes():
    valid = (f"sum by (deployment) (increase({probe('runs_total')}[$__interval]))"
             f" - on (deployment) sum by (deployment) (increase({probe('run_failures_total')}[$__interval]))")
    return bars("Outcome of runs", "Finished runs: those that count, and those that do not by their first reason.",
                [series(valid, "valid"),
                 series(f"sum by (reason) (increase({probe('run_failures_total')}[$__interval])) > 0", "{{reason}}")],
                "none", decimals=0, overrides=[override("valid", color=color(GREEN)), override("contaminated", color=color(ORANGE))])


def duration():
    return lines("Duration against interval", "How long a run takes, and how much time there is for it. Above a third of the interval "
                 "the probe is too heavy for its schedule.",
                 [series(per(probe("run_duration_seconds")), "run"),
                  series(per(probe("interval_seconds")), "interval"),
                  series(per(probe("interval_seconds")) + " / 3", "a third of it"),
                  series(per(probe("run_start_delay_seconds")), "start delay")], "s", min=0,
                 overrides=[dashed("interval", color=color(GREY)), dashed("a third of it", color=color(ORANGE))])


def other_traffic():
    return lines("Traffic of others", "Tokens that the server generated for others, for each one of ours; beyond the workload's bound "
                 "a run is contaminated. Absent when the server's metrics cannot be read. And how much of the prompts came from "
                 "the prefix cache.",
                 [series(per(probe("run_foreign_tokens_ratio")), "foreign tokens"),
                  series(per(probe("run_prefix_cache_hit_ratio")), "prefix cache hits"),
                  series(per(probe("contention_observable")), "observable")], "percentunit", min=0,
                 overrides=[override("observable", unit="bool_yes_no", custom__axisPlacement="hidden", min=0, max=1,
                                     color=color(GREY)), shaded("contaminated", ORANGE)])


def server_side():
    return lines("The server's own view", "Mean times by the server's own metrics during the run. What the prober sees beyond them is "
                 "network and front end.",
                 [series(per(probe("run_server_time_to_first_token_seconds_mean")), "TTFT"),
                  series(per(probe("run_server_queue_time_seconds_mean")), "queue"),
                  series(per(probe("run_server_e2e_latency_seconds_mean")), "end to end")], "s", min=0)


def answers():
    return lines("What the answers are like", "Figures are comparable only while these stay: tokens of a completed request, and why "
                 "answers ended.",
                 [series(per(probe("run_completion_tokens_mean")), "completion tokens"),
                  series(per(probe("run_prompt_tokens_mean")), "prompt tokens"),
                  series(per(probe("run_finish_reason_ratio") + " > 0", "finish_reason"), "ended by {{finish_reason}}")], "none",
                 min=0, overrides=[override("/ended by .*/", unit="percentunit", min=0, max=1, custom__axisPlacement="right",
                                            custom__lineWidth=1)])


def failures():
    return bars("Failed requests", "Requests that failed, by reason. docs/metrics.md says what each means.",
                [series(f"sum by (reason) (increase({probe('request_failures_total')}[$__interval])) > 0", "{{reason}}")], "none",
                decimals=0, no_value="none failed")


def reasons():
    return timeline("Why the last run does not count", "Every reason that held for the last finished run.",
                    [series(per(probe("run_invalid") + " == 1", "reason"), "{{reason}}")],
                    words({1: ("does not count", ORANGE)}), no_value="every run counts")


def states():
    code = "\nor ".join(f"0 * {per(deployment('deployment_state', state=state) + ' == 1')} + {number}"
                        for state, (number, _) in STATES.items())
    return timeline("State", "From the end of every run: what its requests met, the server's health, its own token counters.",
                    [series(code, "{{deployment}}")],
                    words({number: (state, shade) for state, (number, shade) in STATES.items()}), no_value="unknown")
