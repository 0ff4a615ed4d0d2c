// The decision explorer: a declaration, by form or as JSON, through Simulate.
import { by, h, human } from './dom.js';
import { decisionBody } from './decision.js';
import { build, controlOf, offer, read, suppositions, write } from './form.js';

const written = () => by('form').elements.as.value;
let examples = [];

/** A text that is no JSON, told beside it; otherwise what it says. */
function parsed() {
  try {
    const value = JSON.parse(by('json').value);
    if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Error('it is no object');
    by('json-problem').textContent = '';
    by('json').removeAttribute('aria-invalid');
    // What some tools send around it.
    return value.request ?? value;
  } catch (problem) {
    by('json-problem').textContent = `This is no JSON of a declaration: ${problem.message}`;
    by('json').setAttribute('aria-invalid', 'true');
    return null;
  }
}

const request = () => (written() === 'json' ? parsed() : read());

function show(declaration) {
  write(declaration);
  by('json').value = JSON.stringify(declaration, null, 2);
}

function turn(event) {
  const to = event.target.value;
  if (to === 'json') by('json').value = JSON.stringify(read(), null, 2);
  else {
    const declaration = parsed();
    if (!declaration) {
      by('form').elements.as.value = 'json';
      by('json').focus();
      return;
    }
    write(declaration);
  }
  by('as-form').hidden = to === 'json';
  by('as-json').hidden = to !== 'json';
}

async function loadExamples() {
  try {
    const year = String(new Date().getFullYear());
    examples = JSON.parse((await (await fetch('/console/examples.json')).text()).replaceAll('YYYY', year));
  } catch { examples = []; }
  by('example').replaceChildren(...examples.map(({ shows }, at) => h('option', { value: at }, human(shows))));
}

function clear() {
  for (const control of document.querySelectorAll('#form [aria-invalid]')) {
    control.removeAttribute('aria-invalid');
    const problem = by(`${control.id}-problem`);
    if (problem) problem.textContent = '';
  }
  by('violations').hidden = true;
}

/** Shows each violation beside its field, and all of them above. */
function blame(violations) {
  const items = violations.map(({ field, description }) => {
    const control = written() === 'form' || !field.startsWith('request') ? controlOf(field) : null;
    if (!control) return h('li', {}, h('code', {}, field), ` ${description}`);
    control.setAttribute('aria-invalid', 'true');
    const beside = by(`${control.id}-problem`);
    beside.textContent = [beside.textContent, description].filter(Boolean).join('; ');
    return h('li', {}, h('a', { href: `#${control.id}`, onclick: (event) => { event.preventDefault(); control.focus(); } }, h('code', {}, field)), ` ${description}`);
  });
  const title = items.length === 1 ? 'One field breaks a rule' : `${items.length} fields break a rule`;
  by('violations').replaceChildren(h('p', {}, h('strong', {}, title)), h('ul', {}, items));
  by('violations').hidden = false;
  by('violations').focus();
}

function refuse(text) {
  by('decision-body').replaceChildren(h('p', { class: 'problem' }, text));
  by('decision').focus();
}

async function explain(event) {
  event.preventDefault();
  clear();
  const declaration = request();
  if (!declaration) return by('json').focus();
  const button = by('explain');
  button.setAttribute('aria-disabled', 'true');
  try {
    const answer = await fetch('/v1/simulate', {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ request: declaration, ...suppositions() }),
    });
    const said = await answer.json().catch(() => null);
    if (answer.ok && said?.decision) {
      by('decision-body').replaceChildren(...decisionBody(said.decision));
      by('decision').focus();
      return undefined;
    }
    const violations = (said?.details ?? []).flatMap((detail) => detail.fieldViolations ?? []);
    if (violations.length) blame(violations);
    else refuse(`Not answered (${answer.status}): ${said?.message || 'no reason was given'}`);
  } catch {
    refuse('The replica does not answer.');
  } finally {
    button.removeAttribute('aria-disabled');
  }
  return undefined;
}

/** Puts an enterprise into the form, as the consignee. */
export function suppose(customsCode) {
  const declaration = read();
  declaration.parties = [{ role: 'PARTY_ROLE_CONSIGNEE', customsCode }];
  show(declaration);
  by('explorer').scrollIntoView();
  by('form').querySelector('[name=code]').focus();
}

/** Brings the explorer to life; `figures` gives the last figures. */
export function begin(figures) {
  build();
  loadExamples();
  by('load').addEventListener('click', () => {
    const chosen = examples[by('example').value];
    if (chosen) { clear(); show(chosen.request); }
  });
  for (const radio of by('form').elements.as) radio.addEventListener('change', turn);
  by('form').addEventListener('focusin', () => offer((figures()?.policies ?? []).map((policy) => policy.policy.id)));
  by('form').addEventListener('submit', explain);
}
