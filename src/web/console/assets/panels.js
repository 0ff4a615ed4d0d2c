// The panels of figures, other than plots and rates.
import { by, count, countdown, facts, fill, h, human, instant, latency, perSecond, put, s, short } from './dom.js';
import { LANES, REFUSALS, RESYNCS } from './words.js';

/** The lane with its sign and colour. */
export const lane = (name) => h('span', { class: `lane lane-${name}` },
  h('span', { class: 'sign', 'aria-hidden': 'true' }, LANES[name]?.sign ?? '?'), ` ${name}`);

const mean = (rows, column) => rows.reduce((sum, row) => sum + row[column], 0) / (rows.length || 1);

/** Shows every panel. */
export function showPanels(figures, history) {
  showTraffic(figures, history);
  showRegister(figures.status);
  showPolicy(figures);
  showEvents(figures);
  showProof(figures);
}

function showTraffic({ decisions }, history) {
  const now = history.at(-1);
  const names = Object.keys(LANES);
  put('traffic-total', now ? perSecond(names.reduce((sum, _, at) => sum + now[at + 1], 0)) : '–');
  const rows = names.map((name, at) => [
    name,
    now ? perSecond(now[at + 1]) : '–',
    perSecond(mean(history.slice(-60), at + 1)),
    perSecond(mean(history, at + 1)),
    count(decisions.filter((series) => series.lane === name).reduce((sum, series) => sum + series.count, 0)),
  ]);
  fill('lanes-rows', rows, () => rows.map(([name, ...numbers]) => h('tr', { 'data-lane': name },
    h('th', { scope: 'row', title: LANES[name].means }, swatch(name), lane(name)),
    numbers.map((number) => h('td', { class: 'number' }, number)))));
  const [p50, p99, p999] = now?.slice(6) ?? [];
  put('latency-p50', latency(p50));
  put('latency-p99', latency(p99));
  put('latency-p999', latency(p999));
  showMinutes(history);
}

/** The stroke of a lane's line in the plot. */
const swatch = (name) => s('svg', { class: `swatch lane-${name}`, width: 28, height: 10, 'aria-hidden': 'true' },
  s('line', { x1: 0, x2: 28, y1: 5, y2: 5, stroke: 'currentColor', 'stroke-width': 2, 'stroke-dasharray': LANES[name].dash }));

function showMinutes(history) {
  const minutes = [];
  for (let end = history.length; end > 0; end -= 60) minutes.push(history.slice(Math.max(0, end - 60), end));
  const known = (rows, column) => rows.map((row) => row[column]).filter((value) => value !== null && value !== undefined);
  const rows = minutes.map((rows) => [
    Math.floor(rows.at(-1)[0] / 60_000),
    perSecond([1, 2, 3, 4, 5].reduce((sum, column) => sum + mean(rows, column), 0)),
    latency(middle(known(rows, 6))),
    latency(known(rows, 7).reduce((most, value) => Math.max(most, value), -1)),
  ]);
  fill('minutes', rows, () => rows.map(([minute, ...numbers], at) => h('tr', {},
    h('th', { scope: 'row' }, instant(minutes[at].at(-1)[0])), numbers.map((number) => h('td', { class: 'number' }, number)))));
}

const middle = (values) => [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)];

function showRegister(status) {
  const tiers = status.tiers.map(({ creditTier, enterprises }) => [short(creditTier, 'CREDIT_TIER'), Number(enterprises)]);
  const total = tiers.reduce((sum, [, enterprises]) => sum + enterprises, 0);
  put('register-total', count(total));
  fill('register-rows', tiers, () => tiers.map(([tier, enterprises]) => h('tr', { 'data-tier': tier },
    h('th', { scope: 'row' }, human(tier)),
    h('td', { class: 'number' }, count(enterprises)),
    h('td', { class: 'number quiet' }, total ? `${(100 * enterprises / total).toFixed(1)} %` : '–'))));
  const { controlOrders, recognisedOperators, quarantinedRows, quarantine } = status;
  fill('register-facts', [controlOrders, recognisedOperators, quarantinedRows], () => facts([
    ['Control orders', count(controlOrders)],
    ['Recognised operators abroad', count(recognisedOperators)],
    ['Rows that cannot be read', Number(quarantinedRows) ? h('strong', { class: 'bad' }, count(quarantinedRows)) : '0'],
  ]));
  fill('quarantine', quarantine ?? [], () => [quarantine?.length > 0 && h('details', {},
    h('summary', {}, 'They stand on the strict side until repaired'),
    h('ul', {}, quarantine.map((row) => h('li', {}, h('code', {}, `${row.entity} ${row.key}`), ` ${row.reason}`))))]);
}

function showPolicy({ policies, nextPolicy, at }) {
  const now = policies.find((policy) => policy.inForce);
  fill('policy-now', now ?? null, () => now ? [
    h('p', { class: 'policy-id' }, h('strong', {}, now.policy.id), now.policy.provisional && h('span', { class: 'chip warn' }, '! provisional')),
    h('p', {}, now.title),
    now.policy.provisional && h('p', { class: 'quiet' }, 'Provisional: some of its figures are assumed, and no authority has confirmed them.'),
    h('dl', { class: 'facts' }, facts([
      ['Since', now.effectiveFrom],
      ['Digest', h('code', { title: now.policy.digest }, now.policy.digest.slice(0, 12))],
      ['Parameters', h('code', { title: now.policy.parametersDigest }, now.policy.parametersDigest.slice(0, 12))],
    ])),
  ] : [h('p', { class: 'problem' }, 'No policy applies today.')]);
  put('next-label', nextPolicy ? `${nextPolicy.id} takes effect in` : 'No later policy is known');
  put('next-left', nextPolicy ? countdown(nextPolicy.at - at) : '');
  fill('policy-list', policies, () => policies.map((policy) => h('li', { 'aria-current': policy.inForce && 'true' },
    h('span', {}, policy.effectiveFrom), ' ', h('span', {}, policy.policy.id), policy.inForce && h('span', { class: 'quiet' }, ' in force'))));
}

function showEvents({ events, status }) {
  const error = status.lastError;
  by('data-error').hidden = !error;
  put('data-error', error ? `The store: ${error}` : '');
  fill('events', events, () => events.length ? events.map((event) => {
    const [title, means] = (event.kind === 'refusal' ? REFUSALS : RESYNCS)[event.cause] ?? [human(event.cause), ''];
    const refused = event.kind === 'refusal';
    return h('li', { class: event.kind },
      h('p', {}, instant(event.at), ' ',
        h('span', { class: `chip ${refused ? 'bad' : ''}` }, refused ? '✖ refused' : '↻ snapshot'), ' ', h('strong', {}, title),
        event.times > 1 && h('span', { class: 'quiet' }, ` ${event.times} times`)),
      h('p', {}, event.text),
      means && h('p', { class: 'quiet' }, means));
  }) : [h('li', { class: 'quiet' }, 'Nothing since the start.')]);
}

function showProof({ audit, shipments }) {
  const [state, text] = audit.failing ? ['bad', '✖ cannot be written: decisions wait or go unlogged, see audit.on_failure. Is the disk full?']
    : audit.logging ? ['good', '● every decision is written before its answer leaves']
      : ['warn', '! off: nothing is logged'];
  fill('audit-state', [state, text], () => [h('span', { class: `chip ${state}` }, text)]);
  fill('audit-facts', audit, () => facts([
    ['Records since the start', count(audit.records)],
    ['Last sequence', count(audit.sequence)],
    ['Not in the store yet', count(audit.lag)],
  ]));
  fill('shipments-facts', shipments, () => facts([
    ['In memory', count(shipments.held)],
    ['Not saved yet', count(shipments.unsaved)],
    ['Watches open', count(shipments.watches)],
  ]));
}

