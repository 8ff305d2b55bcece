"""Checks what the chart renders: Kubernetes' own schemas, the restricted profile, and that nothing in it is a copy.

    chart.py BINARY UNPACKED_CHART RENDERED...

The first rendering must have everything switched on. Its custom resources go to standard output as JSON, for the
check against the schemas of the Prometheus operator.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).parents[2]
KUBERNETES = ["1.27", "1.31", "1.36"]


def documents(path):
    return [one for one in yaml.safe_load_all(pathlib.Path(path).read_text()) if one]


def of_kind(manifests, kind):
    return [one for one in manifests if one["kind"] == kind]


def check_schema(manifests):
    for manifest in manifests:
        if manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            continue
        for version in KUBERNETES:
            kubernetes_validate.validate(manifest, version, strict=True)


def check_restricted(manifests):
    """The restricted profile of Kubernetes' pod security standards, and a root file system that is read-only."""
    (deployment,) = of_kind(manifests, "Deployment")
    assert deployment["spec"]["replicas"] == 1 and deployment["spec"]["strategy"] == {"type": "Recreate"}
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
    assert all(set(volume) - {"name"} <= allowed for volume in pod["volumes"]), pod["volumes"]
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False and context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}, mounts
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in [of_kind(manifests, "Service")[0]["spec"]["selector"], deployment["spec"]["selector"]["matchLabels"]]:
        assert selector.items() <= labels.items(), (selector, labels)


def check_configuration(binary, manifests):
    """The prober itself reads the files as the pod has them, and knows the flags."""
    (deployment,) = of_kind(manifests, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(manifests, "ConfigMap")}
    with tempfile.TemporaryDirectory() as at:
        for volume in pod["volumes"]:
            for item in volume.get("configMap", {}).get("items", []):
                path = pathlib.Path(at, item["path"])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(maps[volume["configMap"]["name"]][item["key"]])
        config = pathlib.Path(at, "prober.yaml")
        if "/run/secrets/vllm-prober" in (text := config.read_text()):
            assert any("secret" in volume for volume in pod["volumes"])
            pathlib.Path(at, "token").write_text("a-token\n")
            config.write_text(text.replace("/run/secrets/vllm-prober", at))
        checked = subprocess.run([binary, "check", "--config.file", config], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        reference = pathlib.Path(at, "prompts/reference.txt").read_bytes()
        assert reference == (ROOT / "config/prompts/reference.txt").read_bytes()
    # A flag that is not known is told before --help is answered.
    arguments = pod["containers"][0]["args"]
    told = subprocess.run([binary, *arguments, "--help"], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    unknown = subprocess.run([binary, *arguments, "--no-such-flag", "--help"], capture_output=True, text=True)
    assert unknown.returncode != 0


def check_no_copies(chart, manifests):
    """Rules and dashboards are those of the repository, in the package too."""
    groups = []
    for name in ("recording", "alerts"):
        source = ROOT / f"config/prometheus/{name}.rules.yml"
        groups += yaml.safe_load(source.read_text())["groups"]
        assert (chart / f"files/rules/{name}.rules.yml").read_bytes() == source.read_bytes(), name
    assert sum(len(group["rules"]) for group in groups) > 10
    (rule,) = of_kind(manifests, "PrometheusRule")
    assert rule["spec"]["groups"] == groups

    sources = {path.name: path.read_text() for path in (ROOT / "grafana/dashboards").glob("*.json")}
    assert sources, "grafana/dashboards has no dashboard"
    rendered = {}
    for one in of_kind(manifests, "ConfigMap"):
        if one["metadata"]["labels"].get("grafana_dashboard") == "1":
            rendered |= one["data"]
            assert len(json.dumps(one)) < 1 << 20, "a ConfigMap may have 1 MiB"
    assert {name: json.loads(text) for name, text in rendered.items()} == {
        name: json.loads(text) for name, text in sources.items()
    }


def main():
    binary, chart, full = sys.argv[1], pathlib.Path(sys.argv[2]), documents(sys.argv[3])
    for path in sys.argv[3:]:
        manifests = documents(path)
        check_schema(manifests)
        check_restricted(manifests)
        check_configuration(binary, manifests)
        names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
        assert len(names) == len(set(names)), names
    check_no_copies(chart, full)
    (monitor,) = of_kind(full, "ServiceMonitor")
    (service,) = of_kind(full, "Service")
    # The alerts look for a job of this name.
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "vllm-prober"
    assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
    custom = [one for one in full if one["apiVersion"].startswith("monitoring.coreos.com/")]
    json.dump(custom, sys.stdout)
    print(f"ok: {len(full)} manifests by the schemas of Kubernetes {', '.join(KUBERNETES)}", file=sys.stderr)


if __name__ == "__main__":
    main()
