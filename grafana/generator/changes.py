"""Before and after a change: by how much each measure moved, how sure that is, and what was changed."""

from blocks import (BLUE, GREEN, GREY, ORANGE, RED, VERDICT, YES_NO, Board, bar_chart, bar_gauge, choice, color, lines, now,
                    override, rows, series, steps, table)
from queries import IDENTITY, annotations, deployment, fields_changed, per, probe

RATES = "decode_tokens_rate|requests_rate|prompt_tokens_rate"
LATENCIES = "ttft_p50|tpot_p50|e2e_p50"


def compared(name, measure=".+"):
    return per(probe(name, comparison="$comparison", measure=measure), "deployment", "measure")


def board():
    comparison = choice("comparison", "Compared with",
                        {"previous": "the environment before the last change", "baseline": "the pinned baseline"})
    made = Board("vllm-prober-changes", "What a change did to a deployment, and how sure that is.", variables=[comparison],
                 annotations=annotations())
    made.add(12, 10, forest("Rates, after / before", "Right of 1 is faster.", RATES),
             forest("Latencies, after / before", "Right of 1 is slower.", LATENCIES))
    made.add(24, 9, figures())
    made.add(8, 9, bar_gauge(
        "Runs compared", "Clean runs on each side of the comparison: few of them make wide intervals.",
        [now(per(probe("comparison_runs", comparison="$comparison"), "deployment", "side"), "{{deployment}}, {{side}}")], "none",
        min=0, max=96, decimals=0, thresholds=steps(ORANGE, (GREY, 5), (GREEN, 10)), no_value="nothing to compare"))
    made.add(16, 9, table(
        "Fields changed", "What changed within the shown time range, the latest first, and what the deployment runs on since.",
        [rows(fields_changed("$__range"))], "dateTimeAsIso",
        columns={"Value": "When", "deployment": "Deployment", "field": "Field", "vllm_version": "vLLM", "driver": "Driver",
                 "cuda": "CUDA", "gpu": "GPU", "mig_profile": "MIG", "model": "Model", "precision": "Precision",
                 "quantization": "Quantization"}, sort=[("When", True)], no_value="nothing changed"))
    made.add(24, 8, environments())
    made.add(12, 9,
             lines("Decode tokens per second", "Each run that counts, around the change.",
                   [series(per(probe("run_decode_tokens_per_second")), "{{deployment}}")], "none"),
             lines("How the change was seen", "Decode tokens per second after / before with its 95 % interval, as runs came in.",
                   [series(compared("change_ratio", "decode_tokens_rate"), "{{deployment}}"),
                    series(compared("change_lower_ratio", "decode_tokens_rate"), "{{deployment}}, at least"),
                    series(compared("change_upper_ratio", "decode_tokens_rate"), "{{deployment}}, at most")], "none", decimals=3,
                   overrides=[override("/, at (least|most)$/", custom__lineWidth=1,
                                       custom__lineStyle={"fill": "dash", "dash": [8, 8]})],
                   thresholds=steps("transparent", (GREY, 1)), custom={"thresholdsStyle": {"mode": "line"}},
                   no_value="nothing to compare"))
    return made


def forest(title, direction, measures):
    """Floating bars: nothing up to the lower end, then the interval in two parts that meet at the estimate."""
    def named(expr):
        return f'label_join({expr}, "what", ", ", "deployment", "measure")'
    lower, ratio, upper = (compared(f"change_{end}ratio", measures) for end in ("lower_", "", "upper_"))
    return bar_chart(
        title, f"{direction} A bar is the 95 % interval; its two parts meet at the estimate. What does not reach 1 has changed.",
        [rows(named(lower)), rows(named(f"{ratio} - {lower}")), rows(named(f"{upper} - {ratio}"))], "none", x="what",
        columns={"what": "what", "Value #A": "lower end", "Value #B": "to the estimate", "Value #C": "to the upper end"},
        hidden=("deployment", "measure"), stacked=True, decimals=3, no_value="nothing to compare",
        thresholds=steps("transparent", (GREY, 1)),
        custom={"thresholdsStyle": {"mode": "line"}, "axisSoftMin": 0.8, "axisSoftMax": 1.2},
        overrides=[override("lower end", color=color("transparent"), custom__fillOpacity=0, custom__lineWidth=0),
                   override("to the estimate", color=color(BLUE)), override("to the upper end", color=color("light-blue"))])


def figures():
    probed = ("deployment", "measure")
    queries = [compared("change_ratio"), compared("change_lower_ratio"), compared("change_upper_ratio"), compared("verdict"),
               compared("verdict_conclusive"), per(probe("noise_ratio", measure=".+"), *probed),
               per(probe("minimum_detectable_change_ratio", measure=".+"), *probed),
               per(probe("baseline", measure=".+"), *probed)]
    names = ("After / before", "at least", "at most", "Verdict", "Conclusive", "Noise", "Would see", "Baseline")
    columns = {f"Value #{chr(ord('A') + index)}": name for index, name in enumerate(names)}
    return table("In figures", "Regressed first. Conclusive: the runs suffice to say that there is a change, or that there is none "
                 "beyond the tolerance. Would see: the least worsening that these runs would show.",
                 [rows(query) for query in queries], "none",
                 columns={"deployment": "Deployment", "measure": "Measure", **columns}, decimals=3,
                 sort=[("Verdict", False), ("After / before", False)], no_value="",
                 overrides=[override("Verdict", mappings=VERDICT, custom__cellOptions={"type": "color-background", "mode": "basic"}),
                            override("Conclusive", mappings=YES_NO),
                            override("/Noise|Would see/", unit="percentunit", decimals=1)])


def environments():
    info = per(deployment("deployment_info"), "deployment", *IDENTITY)
    seen = f"timestamp({info})[$__range:$__interval]"
    return table("What it ran on, and when", "Each environment of the shown time range with the moments at which it was first and last "
                 "seen. What differs between two lines is what changed.",
                 [rows(f"1000 * min_over_time({seen})"), rows(f"1000 * max_over_time({seen})")], "dateTimeAsIso",
                 columns={"deployment": "Deployment", "Value #A": "From", "Value #B": "Until", "vllm_version": "vLLM",
                          "driver": "Driver", "cuda": "CUDA", "gpu": "GPU", "mig_profile": "MIG", "model": "Model",
                          "precision": "Precision", "quantization": "Quantization"},
                 sort=[("Deployment", False), ("From", True)], no_value="nothing known")
