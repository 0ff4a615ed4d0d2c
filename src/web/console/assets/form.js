// The form of a declaration: rows that come and go, to and from DecideRequest in proto3 JSON.
import { by, h } from './dom.js';
import { DIRECTIONS, IDENTIFIERS, ROLES, TIERS, TRADE, TRANSPORT } from './words.js';

let made = 0;

/** A control with its label. `paths` are the contract's fields that a violation of it may name, separated by blanks. */
function field(label, control, paths) {
  const id = `field-${++made}`;
  control.id = id;
  control.dataset.paths = paths;
  control.setAttribute('aria-describedby', `${id}-problem`);
  return h('p', { class: 'field' }, h('label', { for: id }, label), control, h('span', { id: `${id}-problem`, class: 'violation' }));
}

const choice = (name, options, chosen) => {
  const select = h('select', { name }, Object.entries(options).map(([value, label]) => h('option', { value }, label)));
  if (chosen !== undefined) select.value = chosen;
  return select;
};
const text = (name, value = '', more = {}) => h('input', { name, value, autocomplete: 'off', spellcheck: 'false', ...more });

/** Rows of one kind: a party, a goods item, an override. */
function rows(id, title, one, columns, remake) {
  const list = h('div', { id });
  const renumber = () => [...list.children].forEach((row, at) => {
    row.querySelector('legend').textContent = `${one} ${at + 1}`;
    row.querySelector('button').setAttribute('aria-label', `Remove ${one.toLowerCase()} ${at + 1}`);
    row.querySelectorAll('[data-within]').forEach((control) => {
      control.dataset.paths = control.dataset.within.split(' ').map((path) => `${remake}[${at}].${path}`).join(' ');
    });
  });
  const add = (value = {}) => {
    const row = h('fieldset', { class: 'row' }, h('legend', {}), columns(value), h('button', {
      type: 'button', class: 'remove',
      onclick: () => { const to = row.previousElementSibling?.querySelector('button') ?? more; row.remove(); renumber(); to.focus(); },
    }, '✕'));
    row.querySelectorAll('[data-paths]').forEach((control) => { control.dataset.within = control.dataset.paths; });
    list.append(row);
    renumber();
    return row;
  };
  const more = h('button', { type: 'button', class: 'add', onclick: () => add().querySelector('select, input').focus() }, `+ ${one}`);
  const read = () => [...list.children].map((row) => Object.fromEntries(
    [...row.querySelectorAll('[name]')].map((control) => [control.name, control.value.trim()])));
  return { part: h('div', { class: 'rows' }, h('h3', {}, title), list, more), add, read, clear: () => list.replaceChildren() };
}

const parties = rows('parties', 'Parties', 'Party', (party) => {
  const kind = Object.keys(IDENTIFIERS).find((name) => party[name] !== undefined) ?? 'customsCode';
  return [
    field('Role', choice('role', ROLES, party.role), 'role'),
    field('Known by', choice('kind', IDENTIFIERS, kind), ''),
    field('Code', text('code', party[kind]), 'identifier customs_code social_credit_code aeo_code'),
  ];
}, 'parties');
const goods = rows('goods', 'Goods', 'Item', (item) => [
  field('HS code', text('hsCode', item.hsCode, { inputmode: 'numeric' }), 'hs_code'),
  field('Origin', text('originCountry', item.originCountry, { maxlength: 2, size: 4 }), 'origin_country'),
], 'goods');
const overrides = rows('overrides', 'Tiers', 'Tier', (override) => [
  field('Customs code', text('customsCode', override.customsCode), 'customs_code'),
  field('stands as', choice('creditTier', Object.fromEntries(TIERS.map((tier) => [`CREDIT_TIER_${tier}`, tier])), override.creditTier), 'credit_tier'),
], 'tier_overrides');

const simple = {
  declarationNumber: ['Declaration number', text('declarationNumber', '', { inputmode: 'numeric', size: 20 }), 'declaration_number'],
  direction: ['Direction', choice('direction', DIRECTIONS), 'direction'],
  customsOffice: ['Customs office', text('customsOffice', '', { inputmode: 'numeric', size: 6 }), 'customs_office'],
  transportMode: ['Transport', choice('transportMode', TRANSPORT), 'transport_mode'],
  tradeMode: ['Trade', choice('tradeMode', TRADE), 'trade_mode'],
  transportDocumentNumber: ['Transport document', text('transportDocumentNumber'), 'transport_document_number'],
  containerNumbers: ['Containers, by commas', text('containerNumbers'), 'container_numbers'],
  acceptedAt: ['Accepted at (empty: now)', text('acceptedAt', '', { placeholder: '2026-11-24T08:00:00Z' }), 'accepted_at'],
};
const supposed = {
  policyId: ['Policy', choice('policyId', { '': 'the one in force then' }), 'policy_id'],
  asOf: ['Decided at (empty: now)', text('asOf', '', { placeholder: '2026-11-24T08:00:00Z' }), 'as_of'],
};
const part = (fields) => h('div', { class: 'fields' }, Object.values(fields).map((each) => field(...each)));

/** What the form has no field for; it comes back as it was. */
let rest = {};

/** Puts the form into the page. */
export function build() {
  by('as-form').append(part(simple), parties.part, goods.part);
  by('suppose').append(part(supposed), overrides.part);
  write({});
}

/** Names the policies that may be supposed. */
export function offer(ids) {
  const select = supposed.policyId[1];
  const known = new Set([...select.options].map((option) => option.value));
  select.append(...ids.filter((id) => !known.has(id)).map((id) => h('option', { value: id }, id)));
}

/** snake_case keys are as good as camelCase ones. */
function camel(value) {
  if (Array.isArray(value)) return value.map(camel);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, below]) =>
    [key.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()), camel(below)]));
}

/** Fills the form from a DecideRequest. */
export function write(request) {
  const { parties: ofParties = [{}], goods: ofGoods = [], ...others } = camel(request);
  for (const [name, [, control]] of Object.entries(simple)) {
    const value = others[name] ?? (name === 'direction' ? 'DIRECTION_IMPORT' : '');
    control.value = Array.isArray(value) ? value.join(', ') : value;
    delete others[name];
  }
  rest = others;
  parties.clear();
  goods.clear();
  ofParties.forEach(parties.add);
  ofGoods.forEach(goods.add);
}

/** The DecideRequest that the form says; what is empty is not sent. */
export function read() {
  const request = {};
  for (const [name, [, control]] of Object.entries(simple)) if (control.value.trim()) request[name] = control.value.trim();
  if (request.containerNumbers) request.containerNumbers = request.containerNumbers.split(/[\s,]+/).filter(Boolean);
  request.parties = parties.read().map(({ role, kind, code }) => (code ? { role, [kind]: code } : { role }));
  request.goods = goods.read();
  return { ...request, ...rest };
}

/** What is to be supposed beside the declaration. */
export function suppositions() {
  const asked = {};
  for (const [name, [, control]] of Object.entries(supposed)) if (control.value.trim()) asked[name] = control.value.trim();
  const tiers = overrides.read();
  return tiers.length ? { ...asked, tierOverrides: tiers } : asked;
}

/** The control that a violation's path means, if the form has one. */
export function controlOf(path) {
  const own = path.replace(/^request\./, '');
  const names = (control) => control.dataset.paths.split(' ').some((each) => each && (own === each || own.startsWith(`${each}[`)));
  return [...document.querySelectorAll('#form [data-paths]')].find(names);
}
