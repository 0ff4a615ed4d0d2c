// The enterprise look-up.
import { by, facts, h, human, short } from './dom.js';
import { suppose } from './explorer.js';
import { RESTRICTIONS } from './words.js';

const tier = (name) => human(short(name, 'CREDIT_TIER'));

function card({ enterprise, registryVersion: at }, asked) {
  const code = enterprise.customsCode;
  const measures = (enterprise.measures ?? []).map((name) => short(name, 'MEASURE'));
  const chip = (name) => (RESTRICTIONS.has(name) ? h('span', { class: 'chip bad' }, `✖ ${human(name)}`) : h('span', { class: 'chip good' }, `● ${human(name)}`));
  return [
    h('h3', {}, enterprise.name || asked, enterprise.suspended && [' ', h('span', { class: 'chip warn' }, '! suspended')]),
    h('dl', { class: 'facts' }, facts([
      ['Customs code', code && h('code', {}, code)],
      ['Social credit code', enterprise.socialCreditCode && h('code', {}, enterprise.socialCreditCode)],
      ['Registered tier', enterprise.creditTier && tier(enterprise.creditTier)],
      ['Stands today as', enterprise.standing && h('strong', {}, tier(enterprise.standing))],
      ['From', enterprise.tierEffectiveFrom],
      ['Until', enterprise.tierValidUntil || 'no end'],
      ['Scheduled', (enterprise.scheduled ?? []).map((change) => `${tier(change.creditTier)} from ${change.effectiveFrom}`).join('; ')],
      ['Read at', at && `position ${at.sequence}`],
    ])),
    measures.length > 0 && h('ul', { class: 'chips' }, measures.map((name) => h('li', {}, chip(name)))),
    code ? h('button', { type: 'button', onclick: () => suppose(code) }, 'Explain a decision on it')
      : h('p', { class: 'quiet' }, 'An operator abroad: its recognition may lower a rate, but it has no tier here.'),
  ];
}

async function find(event) {
  event.preventDefault();
  const input = by('identifier');
  const asked = input.value.trim();
  const fail = (text) => {
    by('lookup-problem').textContent = text;
    input.setAttribute('aria-invalid', 'true');
    by('enterprise').replaceChildren();
    input.focus();
  };
  by('lookup-problem').textContent = '';
  input.removeAttribute('aria-invalid');
  if (!asked) return fail('Write a code first.');
  try {
    const answer = await fetch(`/v1/enterprises/${encodeURIComponent(asked)}`, { cache: 'no-store' });
    const said = await answer.json().catch(() => null);
    if (answer.ok && said?.enterprise) by('enterprise').replaceChildren(...card(said, asked).filter(Boolean));
    else if (answer.status === 404) {
      by('enterprise').replaceChildren(h('p', {}, h('strong', {}, 'Not registered. '), `The registry holds no enterprise ${asked}. On a declaration it is unknown: it stands as REGULAR, and nothing with it takes the green channel.`));
    } else {
      const violations = (said?.details ?? []).flatMap((detail) => detail.fieldViolations ?? []);
      fail(violations.map(({ description }) => description).join('; ') || said?.message || `Not answered (${answer.status}).`);
    }
  } catch {
    fail('The replica does not answer.');
  }
  return undefined;
}

/** Brings the look-up to life. */
export function begin() {
  by('lookup-form').addEventListener('submit', find);
}
