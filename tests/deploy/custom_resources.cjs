// Checks ServiceMonitor and PrometheusRule against the schemas of the Prometheus operator.
//
//     NODE_PATH=… node custom_resources.cjs MANIFESTS.json
const { readFileSync } = require("node:fs");
const { pathToFileURL } = require("node:url");
const { join } = require("node:path");

const models = join(process.env.NODE_PATH, "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js");

import(pathToFileURL(models)).then((models) => {
  const manifests = JSON.parse(readFileSync(process.argv[2], "utf8"));
  const kinds = manifests.map((manifest) => manifest.kind).sort();
  if (kinds.join() !== "PrometheusRule,ServiceMonitor") throw new Error(`unexpected kinds: ${kinds}`);
  for (const manifest of manifests) new models[manifest.kind](manifest).validate();
  // The schemas are strict enough to notice a mistake.
  const [broken] = structuredClone(manifests.filter((manifest) => manifest.kind === "ServiceMonitor"));
  broken.spec.endpoints[0].interval = 30;
  try {
    new models.ServiceMonitor(broken).validate();
  } catch {
    console.log(`ok: ${kinds.join(" and ")} by the schemas of the Prometheus operator`);
    return;
  }
  throw new Error("a broken manifest is taken for a good one");
});
