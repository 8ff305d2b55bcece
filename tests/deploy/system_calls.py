"""Holds the system calls that the daemon makes against those that the systemd unit lets through.

    system_calls.py BINARY REPOSITORY

No systemd runs where this is tested, so the filter itself is not in force: strace writes down what the daemon calls
from its start through two runs and a scrape to its end, as a user who is not root, and systemd-analyze says what the unit's
groups hold.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

from start_as_shipped import CONFIG, PATIENCE, UID


def group(name):
    """Every call of a group, those of the groups within it included."""
    told = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    calls = set()
    for line in map(str.strip, told.stdout.splitlines()[1:]):
        if line.startswith("@"):
            calls |= group(line)
        elif line and not line.startswith("#"):
            calls.add(line)
    return calls


def allowed(repository):
    # Both lines of the unit count, and no parser of INI files keeps two.
    text = pathlib.Path(repository, "deploy/systemd/vllm-prober.service").read_text()
    calls = group("@default")
    filters = re.findall(r"^SystemCallFilter=(~?)(.+)$", text, re.MULTILINE)
    assert len(filters) == 2, filters
    for negated, names in filters:
        for name in names.split():
            calls = calls - group(name) if negated else calls | group(name)
    return calls


def main():
    binary, repository = os.path.abspath(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as at:
        os.chmod(at, 0o755)
        state = os.path.join(at, "state")
        os.mkdir(state)
        os.chown(state, UID, UID)
        simulator = subprocess.Popen([binary, "simulate", "--profile", "fp8", "--listen-address", "127.0.0.1:0", "--speedup", "50"],
                                     stdout=subprocess.PIPE, text=True)
        try:
            base_url = simulator.stdout.readline().strip()
            os.mkdir(os.path.join(at, "prompts"))
            pathlib.Path(at, "prompts/reference.txt").write_text("Count to a thousand.\n")
            pathlib.Path(at, "prober.yaml").write_text(CONFIG.format(base_url=base_url))
            copy = os.path.join(at, "vllm-prober")
            subprocess.run(["install", "-m", "0755", binary, copy], check=True)
            # strace writes as that user, too.
            calls = os.path.join(state, "calls")
            log = os.path.join(at, "log")
            with open(log, "w") as stderr:
                traced = subprocess.Popen(
                    ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs",
                     "strace", "-f", "-qq", "-o", calls, copy, "serve", "--config.file", f"{at}/prober.yaml",
                     "--storage.path", state, "--web.listen-address", "127.0.0.1:0"],
                    stderr=stderr, env={"PATH": os.environ["PATH"]})
            deadline = time.monotonic() + PATIENCE
            while (text := pathlib.Path(log).read_text()).count("run finished") < 2:
                assert time.monotonic() < deadline and traced.poll() is None, text
                time.sleep(0.1)
            address = re.search(r"address=(\S+)", text)[1]
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as answer:
                assert b"vllm_probe_success" in answer.read()
            daemon = subprocess.run(["pgrep", "-P", str(traced.pid)], capture_output=True, text=True, check=True)
            os.kill(int(daemon.stdout), 15)
            assert traced.wait(PATIENCE) == 0, pathlib.Path(log).read_text()
            made = set(re.findall(r"^\d+ +(\w+)\(", pathlib.Path(calls).read_text(), re.MULTILINE))
        finally:
            simulator.terminate()
            simulator.wait(PATIENCE)
    assert len(made) > 20, made
    forbidden = made - allowed(repository)
    assert not forbidden, f"the unit's SystemCallFilter forbids {sorted(forbidden)}"
    print(f"ok: the unit lets through all {len(made)} system calls that the daemon made")


if __name__ == "__main__":
    main()
