"""What a narrower precision gains: speed-ups with their intervals, and the reference benchmark's three charts."""

from blocks import BLUE, GREEN, GREY, RED, Board, bar_chart, color, dashed, lines, override, rows, series, steps, table
from queries import annotations, deployment, per, probe

PAIR = 'vllm_probe_precision_speedup_{}ratio{{family=~"$family", workload="$workload"}}'


def speedup(end=""):
    """The speed-up of every pair of precisions, or one end of its interval."""
    return per(PAIR.format(end), "family", "precision", "reference", "measure")


def named(expr):
    joined = f'label_join({expr}, "pair", " / ", "precision", "reference")'
    return f'label_join({joined}, "pair", ": ", "family", "pair")'


def usual(expr, *labels):
    """The median over the shown time range, by what the deployments are."""
    info = per(deployment("deployment_info"), "deployment", *labels)
    return f"avg by ({', '.join(labels)}) ({expr} * on (deployment) group_left ({', '.join(labels)}) {info})"


def median(name, **labels):
    return per(f"quantile_over_time(0.5, {probe(name, **labels)}[$__range])")


def board():
    made = Board("vllm-prober-precision", "The precisions of one family side by side.",
                 annotations=annotations(verdicts=False, restarts=False), span="now-7d")
    made.add(12, 9, speedups(), speedup_table())
    made.add(24, 8, lines(
        "Speed-up over time", "Each narrower precision against each wider one, from the last 48 clean runs of both. Dashed: the 95 % "
        "interval. Below 1 the narrower one is the slower.",
        [series(speedup(), "{{family}}: {{precision}} / {{reference}}"),
         series(speedup("lower_"), "{{family}}: {{precision}} / {{reference}}, at least"),
         series(speedup("upper_"), "{{family}}: {{precision}} / {{reference}}, at most")], "none", decimals=3,
        overrides=[dashed("/, at (least|most)$/")], thresholds=steps("transparent", (RED, 1)),
        custom={"thresholdsStyle": {"mode": "line"}}, no_value="too few runs yet"))
    made.row("The reference's charts, medians over the shown time range")
    made.add(8, 9,
             by_precision("QPS", "Completed requests per second.", [("QPS", median("run_requests_per_second"))], "reqps"),
             by_precision("Throughput", "Prompt and completion tokens per second.",
                          [("decode_tps", median("run_decode_tokens_per_second")),
                           ("prompt_tps", median("run_prompt_tokens_per_second"))], "none"),
             by_precision("Latency", "End-to-end latency of a request, median and 95th percentile of a run.",
                          [("p50", median("run_e2e_latency_seconds", quantile="0.5")),
                           ("p95", median("run_e2e_latency_seconds", quantile="0.95"))], "s"))
    made.add(24, 7, reference_table())
    made.add(12, 9,
             bar_chart("Decode tokens per second by precision and GPU", "Medians over the shown time range.",
                       [rows('label_join(' + usual(median("run_decode_tokens_per_second"), "precision", "gpu")
                             + ', "what", " on ", "precision", "gpu")')], "none", x="what",
                       columns={"what": "what", "Value": "decode_tps"}, hidden=("precision", "gpu"), decimals=1,
                       no_value="no run counts"),
             lines("Decode tokens per second by precision", "Mean over the deployments of a precision, each run.",
                   [series(usual(per(probe("run_decode_tokens_per_second")), "family", "precision"),
                           "{{family}} {{precision}}")], "none", min=0))
    return made


def speedups():
    return bar_chart(
        "Speed-up", "Decode tokens per second of a narrower precision against a wider one. The light part of a bar is the 95 % "
        "interval. An interval that lies below 1 is an inverted order.",
        [rows(named(speedup("lower_"))), rows(named(speedup("upper_") + " - " + speedup("lower_")))], "none", x="pair",
        columns={"pair": "pair", "Value #A": "at least", "Value #B": "up to"}, stacked=True, decimals=3, min=0,
        hidden=("family", "precision", "reference", "measure"), thresholds=steps("transparent", (RED, 1)),
        custom={"thresholdsStyle": {"mode": "line"}}, no_value="too few runs yet",
        overrides=[override("at least", color=color(GREEN)), override("up to", color=color("light-green"), custom__fillOpacity=35)])


def speedup_table():
    return table(
        "Speed-up in figures", "With its 95 % interval. Red: the whole interval says that the narrower precision is slower.",
        [rows(speedup()), rows(speedup("lower_")), rows(speedup("upper_"))], "none",
        columns={"family": "Family", "precision": "Precision", "reference": "Reference", "measure": "Measure",
                 "Value #A": "Speed-up", "Value #B": "at least", "Value #C": "at most"}, decimals=3, sort=[("at most", False)],
        no_value="", overrides=[override("/Speed-up|at least|at most/", custom__width=100),
                                override("at most", thresholds=steps(RED, ("text", 1)),
                                         custom__cellOptions={"type": "color-text"})])


def by_precision(title, description, values, unit):
    shown = [name for name, _ in values]
    value = ["Value"] if len(values) == 1 else [f"Value #{chr(ord('A') + index)}" for index in range(len(values))]
    return bar_chart(title, description, [rows(usual(expr, "precision")) for _, expr in values], unit, x="precision",
                     columns={"precision": "precision", **dict(zip(value, shown))}, horizontal=False, min=0,
                     no_value="no run counts")


def reference_table():
    labels = ("precision", "model", "gpu", "vllm_version", "driver")
    figures = {
        "QPS": median("run_requests_per_second"), "prompt_tps": median("run_prompt_tokens_per_second"),
        "decode_tps": median("run_decode_tokens_per_second"), "p50 latency": median("run_e2e_latency_seconds", quantile="0.5"),
        "p95 latency": median("run_e2e_latency_seconds", quantile="0.95"),
        "p50 TTFT": median("run_time_to_first_token_seconds", quantile="0.5"),
    }
    values = {f"Value #{chr(ord('A') + index)}": name for index, name in enumerate(figures)}
    return table("The reference's table", "Medians over the shown time range, with what they were measured on now.",
                 [rows(usual(expr, *labels)) for expr in figures.values()], "none",
                 columns={"precision": "Precision", "model": "Model", "gpu": "GPU", "vllm_version": "vLLM", "driver": "Driver",
                          **values}, decimals=4, sort=[("decode_tps", True)], no_value="",
                 overrides=[override("/latency|TTFT/", unit="s")])
