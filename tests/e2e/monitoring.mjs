// Holds objects of the Prometheus operator, a JSON list on the standard input, against its own schemas, and their keys against
// those that the operator knows, because the schemas let unknown ones pass. Given to node by -e, because
// imports are then looked for from the working directory.
import fs from 'node:fs';
import * as models from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';

// What this chart uses, of what the operator's reference documents.
const METADATA = { name: 1, namespace: 1, labels: '*', annotations: '*' };
const RULE = { alert: 1, expr: 1, for: 1, keep_firing_for: 1, labels: '*', annotations: '*' };
const KNOWN = {
  ServiceMonitor: {
    apiVersion: 1, kind: 1, metadata: METADATA,
    spec: { selector: { matchLabels: '*' }, endpoints: [{ port: 1, path: 1, interval: 1, authorization: { type: 1, credentials: { name: 1, key: 1 } } }] },
  },
  PrometheusRule: {
    apiVersion: 1, kind: 1, metadata: METADATA,
    spec: { groups: [{ name: 1, rules: [RULE] }] },
  },
};

function unknown(value, known, path) {
  if (known === 1 || known === '*' || value === null || typeof value !== 'object') return [];
  if (Array.isArray(value)) return value.flatMap((each, at) => unknown(each, known[0], `${path}[${at}]`));
  return Object.entries(value).flatMap(([key, below]) =>
    known && key in known ? unknown(below, known[key], `${path}.${key}`) : [`${path}.${key} is not known`]);
}

const problems = [];
for (const object of JSON.parse(fs.readFileSync(0, 'utf8'))) {
  problems.push(...unknown(object, KNOWN[object.kind], object.kind));
  try {
    new models[object.kind](object).validate();
  } catch (error) {
    problems.push(`${object.kind}: ${error.message}`);
  }
}
process.stdout.write(problems.join('\n'));
process.exit(problems.length ? 1 : 0);
