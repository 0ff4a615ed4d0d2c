// A decision and its reasons, for people.
import { ago, count, facts, h, human, instant, percent, seconds, short } from './dom.js';
import { lane } from './panels.js';
import { LANES, RESTRICTIONS, ROLES } from './words.js';

const word = (name, prefix) => human(short(name, prefix));

function inspection({ inspection = {}, lane: where }) {
  const basis = short(inspection.basis, 'INSPECTION_BASIS');
  if (inspection.selected) return `selected, ${basis.toLowerCase()}: an order sets the rate to 100 %`;
  const rate = inspection.ratePpm ?? 0;
  if (where === 'LANE_MANUAL') return `not drawn while an officer decides; the rate would be ${percent(rate)}`;
  return `${percent(rate)} by the draw: of a million such declarations ${count(rate)} would be inspected`;
}

function parties(decision) {
  const governing = decision.governingParty ?? 0;
  return h('div', { class: 'scroll', role: 'region', 'aria-label': 'Parties', tabindex: '0' }, h('table', {},
    h('thead', {}, h('tr', {}, ['Party', 'Registered', 'Standing', 'Note'].map((title) => h('th', { scope: 'col' }, title)))),
    h('tbody', {}, (decision.parties ?? []).map((party, at) => h('tr', {},
      h('th', { scope: 'row' }, `${at + 1} ${ROLES[party.role] ?? party.role} `, h('code', {}, party.enterpriseId)),
      h('td', {}, party.known ? word(party.registeredTier ?? 'known', 'CREDIT_TIER') : 'unknown'),
      h('td', {}, party.counted ? word(party.standing, 'CREDIT_TIER') : 'not counted'),
      h('td', {}, at === governing && h('span', { class: 'chip' }, 'governs'), party.suspended && h('span', { class: 'chip warn' }, '! suspended')))))));
}

function reason(each, decision) {
  const party = each.party === undefined ? null : decision.parties?.[each.party];
  return h('li', {},
    h('p', {}, h('strong', {}, word(each.code, 'REASON_CODE')), ' ', each.article && h('cite', {}, each.article)),
    each.text && h('p', {}, each.text),
    party && h('p', { class: 'quiet' }, `Party ${each.party + 1}: ${ROLES[party.role] ?? party.role} ${party.enterpriseId}`),
    each.confidentialText && h('p', { class: 'confidential' }, h('span', { class: 'chip warn' }, '! not for the trader'), ` ${each.confidentialText}`));
}

function measures(names = []) {
  const own = names.map((name) => short(name, 'MEASURE'));
  const chips = (list, kind) => list.map((name) => h('li', {}, h('span', { class: `chip ${kind}` }, `${kind === 'bad' ? '✖' : '●'} ${human(name)}`)));
  if (!own.length) return h('p', { class: 'quiet' }, 'No measure.');
  return h('ul', { class: 'chips' }, chips(own.filter((name) => !RESTRICTIONS.has(name)), 'good'), chips(own.filter((name) => RESTRICTIONS.has(name)), 'bad'));
}

/** What a decision is made of, as elements. */
export function decisionBody(decision) {
  const name = short(decision.lane, 'LANE');
  const green = decision.greenChannel ?? {};
  const { policy = {}, priority = {}, registryVersion: at } = decision;
  return [
    h('p', { class: `outcome lane-${name}` }, lane(name), ' ', h('span', {}, LANES[name]?.means ?? 'Unknown to this page: treat it as MANUAL.')),
    h('dl', { class: 'facts' }, facts([
      ['Governing tier', word(decision.creditTier, 'CREDIT_TIER')],
      ['Inspection', inspection(decision)],
      ['Documents', word(decision.documentReview, 'DOCUMENT_REVIEW')],
      ['Priority', `${word(priority.priorityClass, 'PRIORITY_CLASS')}, rank ${priority.rank ?? 0}`],
      ['Green channel', green.eligible ? 'eligible' : `blocked by ${(green.blockedBy ?? []).map((code) => word(code, 'REASON_CODE').toLowerCase()).join(', ')}`],
      ['Policy', [policy.id, policy.provisional && [' ', h('span', { class: 'chip warn' }, '! provisional')]]],
      ['Data', `${at ? `position ${at.sequence}` : ''}, confirmed ${ago(seconds(decision.dataAge) ?? 0)}, ${word(decision.freshness, 'FRESHNESS').toLowerCase()}`],
      ['Valid until', decision.validUntil && instant(Date.parse(decision.validUntil))],
    ])),
    h('h4', {}, 'Why, most binding first'),
    h('ol', { class: 'reasons' }, (decision.reasons ?? []).map((each) => reason(each, decision))),
    h('h4', {}, 'Parties'), parties(decision),
    h('h4', {}, 'Measures on the shipment'), measures(decision.measures),
  ];
}
