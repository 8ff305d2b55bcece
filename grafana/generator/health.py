"""Whether the prober itself can be trusted: its schedule, its own delay, its history, and what the probing costs."""

from blocks import (GREEN, GREY, ORANGE, RED, YELLOW, YES_NO, Board, bars, lines, now, rows, series, stat, steps, table)
from queries import annotations, per, probe

OURS = "* on (job, instance) group_left () (vllm_probe_build_info > bool 0)"


def board():
    made = Board("vllm-prober-health", "Whether the prober can be trusted, and what it costs.",
                 annotations=annotations(verdicts=False, restarts=False))
    made.add(
        4, 4,
        stat("Probers", "Exporters that answer scrapes.", [now("count(vllm_probe_build_info)")], "none",
             thresholds=steps(RED, (GREEN, 1)), no_value="none"),
        stat("Configuration", "Whether it, and the web configuration where there is one, was last loaded without a mistake.",
             [now("min(vllm_probe_config_last_reload_successful * on (job, instance)"
                  " (vllm_probe_web_config_last_reload_successful or vllm_probe_config_last_reload_successful))")],
             "none", mappings=YES_NO, thresholds=steps(RED, (GREEN, 1)), no_value="unknown"),
        stat("Loaded", "When the configuration was last loaded.",
             [now("1000 * max(vllm_probe_config_last_reload_success_timestamp_seconds)")], "dateTimeFromNow", background=False,
             no_value="unknown"),
        stat("History errors", "Within the shown time range. Probing goes on meanwhile.",
             [now("sum(increase(vllm_probe_history_errors_total[$__range]))")], "none", decimals=0,
             thresholds=steps(GREEN, (RED, 1)), no_value="no history"),
        stat("Tokens a day", "What the probing costs: prompt and completion tokens, at the pace of the shown time range.",
             [now(f"86400 * sum(rate({probe('prompt_tokens_total')}[$__range]) + rate({probe('completion_tokens_total')}[$__range]))")],
             "short", background=False, no_value="unknown"),
        stat("Under load of probes", "Largest share of the time that a deployment spent under the load of this workload.",
             [now(f"max(rate({probe('run_seconds_total')}[$__range]))")], "percentunit", decimals=1,
             thresholds=steps(GREEN, (YELLOW, 0.2), (ORANGE, 0.5)), no_value="unknown"),
    )
    made.add(24, 5, table(
        "Exporters", "What runs, and where it is scraped.", [rows("max by (instance, job, version, revision, rustc) (vllm_probe_build_info)")],
        "none", columns={"instance": "Instance", "job": "Job", "version": "Version", "revision": "Revision", "rustc": "rustc"},
        hidden=("Value",), no_value="none"))
    made.row("The schedule")
    made.add(8, 8,
             by_reason("Missed runs", "Slots that came to no run although they should have, by what held them up.", "missed_runs_total"),
             by_reason("Skipped runs", "Slots that came to no run on purpose.", "skipped_runs_total"),
             by_reason("Deferred runs", "Times that a run was put off within its slot.", "deferred_runs_total"))
    made.add(12, 8,
             lines("Start delay", "How much later than its slot the last run started.",
                   [series(per(probe("run_start_delay_seconds")), "{{deployment}}")], "s", min=0),
             lines("Runs going on", "Of this workload.", [series(f"sum({probe('run_in_progress')})", "runs")], "none", min=0))
    made.row("What the prober itself adds")
    made.add(8, 8,
             lines("Client delay, p95", "How long ready work waited on the measuring thread. A run above the workload's bound does not "
                   "count.", [series(per(probe("run_client_delay_seconds", quantile="0.95")), "{{deployment}}")], "s", min=0),
             lines("Client load", "Share of a run in which the measuring thread worked, or waited for a processor to. Near 1 the prober "
                   "was the bottleneck.", [series(per(probe("run_client_load_ratio")), "{{deployment}}")], "percentunit", min=0),
             lines("Concurrency kept in flight", "1 when the full concurrency was in flight all the time.",
                   [series(per(probe("run_concurrency_utilization_ratio")), "{{deployment}}")], "percentunit", max=1))
    made.row("The process")
    made.add(8, 8,
             lines("Event loop lag", "How late the loop that schedules and serves got its turn.",
                   [series("max by (instance, quantile) (vllm_probe_event_loop_lag_seconds)", "{{instance}} {{quantile}}")], "s"),
             lines("Rendering a scrape", "Time that the previous scrape took, in the exporter.",
                   [series("max by (instance) (vllm_probe_scrape_duration_seconds)", "{{instance}}")], "s", min=0),
             lines("Series of a scrape", "As Prometheus counted them.",
                   [series(f"max by (instance) (scrape_samples_scraped {OURS})", "{{instance}}")], "none", min=0),
             lines("Processor", "Cores in use.",
                   [series(f"max by (instance) (rate(process_cpu_seconds_total[$__rate_interval]) {OURS})", "{{instance}}")], "none",
                   min=0, decimals=2),
             lines("Memory", "Resident.", [series(f"max by (instance) (process_resident_memory_bytes {OURS})", "{{instance}}")],
                   "bytes", min=0),
             lines("File descriptors and sockets", "Open ones.",
                   [series(f"max by (instance) (process_open_fds {OURS})", "{{instance}} descriptors"),
                    series("max by (instance) (vllm_probe_open_sockets)", "{{instance}} sockets")], "none", min=0))
    made.row("The history")
    made.add(12, 8,
             lines("Size", "Bytes on the disk.", [series("max by (instance) (vllm_probe_history_size_bytes)", "{{instance}}")],
                   "bytes", min=0),
             bars("Errors", "What went wrong, by operation.",
                  [series("sum by (operation) (increase(vllm_probe_history_errors_total[$__interval])) > 0", "{{operation}}")], "none",
                  decimals=0, no_value="none"))
    return made


def by_reason(title, description, metric):
    return bars(title, description, [series(f"sum by (reason) (increase({probe(metric)}[$__interval])) > 0", "{{reason}}")], "none",
                decimals=0, no_value="none")
