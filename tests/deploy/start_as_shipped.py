"""Starts the static binary exactly as the image and the systemd unit do, in a root directory that holds what they hold.

    start_as_shipped.py BINARY REPOSITORY

The root directory has the binary, the certificates, a configuration and a state directory, and is otherwise empty
and read-only to the daemon's user: no shell, no library, no /etc/passwd. The arguments come from the Dockerfile and
from the unit by real parsers, so that what is started is what is shipped. It needs root for chroot.
"""

import configparser
import http.server
import json
import os
import pathlib
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import dockerfile_parse

UID = 65532
PATIENCE = 30

CONFIG = """\
workloads:
  reference: {{ prompt_file: prompts/reference.txt, requests: 16, validity: {{ min_concurrency_utilization: 0, max_client_delay: 10s, max_client_load_ratio: 1 }} }}
deployments:
  - {{ name: shipped, base_url: "{base_url}", probes: [{{ workload: reference, every: 3s }}] }}
"""


def image(repository):
    """What the Dockerfile's last stage says: user, command, health check, labels."""
    parser = dockerfile_parse.DockerfileParser(os.path.join(repository, "Dockerfile"))
    said = {}
    for step in parser.structure:
        if step["instruction"] == "FROM":
            assert ":" in step["value"] or step["value"] == "scratch", f"unpinned: {step['value']}"
            said = {}
        said[step["instruction"]] = step["value"]
    assert said["USER"] == f"{UID}:{UID}", said["USER"]
    assert said["EXPOSE"] == "10016" and said["VOLUME"] == "/var/lib/vllm-prober", said
    health = said["HEALTHCHECK"]
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}" in parser.labels, label
    return json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"]), json.loads(health[health.index("CMD ") + 4 :])


def unit(repository):
    """What the unit says."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(os.path.join(repository, "deploy/systemd/vllm-prober.service"))
    service = parser["Service"]
    assert service["Type"] == "notify", service["Type"]
    return shlex.split(service["ExecStart"]), int(service["WatchdogSec"])


def root_directory(at, binary, repository, base_url):
    for directory in ("usr/local/bin", "etc/ssl/certs", "etc/vllm-prober/prompts", "var/lib/vllm-prober", "run"):
        os.makedirs(os.path.join(at, directory))
    shutil.copy(binary, os.path.join(at, "usr/local/bin/vllm-prober"))
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", os.path.join(at, "etc/ssl/certs"))
    shutil.copy(os.path.join(repository, "config/prompts/reference.txt"), os.path.join(at, "etc/vllm-prober/prompts"))
    with open(os.path.join(at, "etc/vllm-prober/prober.yaml"), "w") as file:
        file.write(CONFIG.format(base_url=base_url))
    os.chown(os.path.join(at, "var/lib/vllm-prober"), UID, UID)
    os.chmod(at, 0o755)


def in_root(at, argv):
    """As a container has it: that user, no other group, no privilege to be had, and nothing but that directory."""
    return ["setpriv", "--no-new-privs", shutil.which("chroot"), f"--userspec={UID}:{UID}", "--groups=", at, *argv]


def trusts_the_certificates(at):
    """A server is trusted by what stands in the certificates of the root directory, and by nothing else."""
    with tempfile.TemporaryDirectory() as keys:
        openssl = lambda *words: subprocess.run(["openssl", *words], cwd=keys, check=True, capture_output=True)
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test")
        openssl("req", *new_key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=server")
        pathlib.Path(keys, "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", "cert.pem", "-days", "2", "-extfile", "extensions")
        quiet = type("Quiet", (http.server.BaseHTTPRequestHandler,), {"log_message": lambda *_: None})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), quiet)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(keys, "cert.pem"), os.path.join(keys, "key.pem"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://127.0.0.1:{server.server_port}"
        run = ["/usr/local/bin/vllm-prober", "run", "--base-url", url, "--model", "m", "--requests", "1",
               "--concurrency", "1", "--out", "-"]
        failures = lambda: json.loads(subprocess.run(in_root(at, run), capture_output=True, env={}).stdout)["failures"]
        before = failures()
        assert before == {"tls": 1}, before
        with open(os.path.join(at, "etc/ssl/certs/ca-certificates.crt"), "a") as trusted:
            trusted.write(pathlib.Path(keys, "ca.pem").read_text())
        after = failures()
        # The server knows no POST, and says so: its certificate is good enough.
        assert after == {"http_5xx": 1}, after
        server.shutdown()


def metrics():
    with urllib.request.urlopen("http://127.0.0.1:10016/metrics", timeout=5) as answer:
        return answer.read().decode()


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {PATIENCE} s: {what}")


def start(at, argv, environment, health, check):
    assert socket.socket().connect_ex(("127.0.0.1", 10016)) != 0, "port 10016 is taken"
    daemon = subprocess.Popen(in_root(at, argv), env=environment, stderr=subprocess.PIPE, text=True)
    log = []
    reading = threading.Thread(target=lambda: log.extend(daemon.stderr), daemon=True)
    reading.start()
    try:
        is_ready = lambda: subprocess.run(in_root(at, health), capture_output=True, env={}).returncode == 0
        wait_for("the health check is good", is_ready)
        run = 'vllm_probe_last_valid_run_timestamp_seconds{deployment="shipped",workload="reference"}'
        wait_for("a valid run", lambda: run in metrics())
        status = open(f"/proc/{daemon.pid}/status").read()
        assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}" in status, status
        check()
    except BaseException:
        daemon.kill()
        reading.join(5)
        sys.stderr.writelines(log[-30:])
        raise
    daemon.terminate()
    assert daemon.wait(PATIENCE) == 0, "".join(log[-30:])
    assert subprocess.run(in_root(at, health), capture_output=True, env={}).returncode == 1, "healthy after its end"


def main():
    binary, repository = sys.argv[1:3]
    libraries = subprocess.run(["ldd", binary], capture_output=True, text=True)
    assert "statically linked" in libraries.stdout + libraries.stderr or "not a dynamic" in libraries.stderr, libraries
    simulator = subprocess.Popen([binary, "simulate", "--profile", "fp8", "--listen-address", "127.0.0.1:0", "--speedup", "50"],
                                 stdout=subprocess.PIPE, text=True)
    try:
        base_url = simulator.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as at:
            root_directory(at, binary, repository, base_url)
            argv, health = image(repository)
            start(at, argv, {}, health, lambda: None)
            print("ok: the image's command, health check and user, in a root directory of its own")

            trusts_the_certificates(at)
            print("ok: the certificates of the root directory are those that it trusts")

            argv, watchdog = unit(repository)
            path = os.path.join(at, "run/notify")
            ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            ear.bind(path)
            ear.settimeout(watchdog)
            os.chmod(path, 0o777)
            hear = lambda message: wait_for(message, lambda: ear.recv(512).decode().startswith(message))

            def supervise():
                hear("READY=1")
                hear("WATCHDOG=1")

            # Two seconds instead of the unit's minute, so that this ends soon.
            start(at, argv, {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "2000000"}, health, supervise)
            hear("STOPPING=1")
            print("ok: the unit's command, which tells of start, life and stop")
    finally:
        simulator.terminate()
        simulator.wait(PATIENCE)


if __name__ == "__main__":
    main()
