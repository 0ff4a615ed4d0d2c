// The band at the top: how far this replica can be trusted right now, and what to do about it.
import { ago, by, clock, facts, fill, h, instant, put, seconds, short, span } from './dom.js';
import { STATES } from './words.js';

let announced = null;

/** The state by its key in STATES. EXPIRED outweighs draining: it is about what is decided. */
function stateOf(figures, lost) {
  if (lost) return 'unreachable';
  const state = short(figures.status.state, 'REGISTRY_STATE').toLowerCase();
  return figures.draining && state !== 'expired' ? 'draining' : state;
}

function sentence(state, figures, lost) {
  if (state === 'unreachable') {
    return `No figures for ${span(lost.silent / 1000)}: ${lost.problem}. ${figures ? `They are as of ${clock(lost.since)}.` : ''}`;
  }
  const { status, reliefMaxAge, decisionMaxAge } = figures;
  const age = seconds(status.dataAge);
  const confirmed = age === null ? 'The store has not confirmed any data yet.' : `The store confirmed the data ${ago(age)}.`;
  switch (state) {
    case 'live': return age > 5
      ? `${confirmed} Relief ends ${span(reliefMaxAge)} after the last confirmation: in ${span(Math.max(0, reliefMaxAge - age))}.`
      : `${confirmed} Decisions rest on it in full.`;
    case 'stale': return `${confirmed} That is more than ${span(reliefMaxAge)}. At ${span(decisionMaxAge)} it is EXPIRED: in ${span(Math.max(0, decisionMaxAge - age))}.`;
    case 'expired': return `${confirmed} That is more than ${span(decisionMaxAge)}.`;
    default: return confirmed;
  }
}

/** Shows the state; `lost` tells since when there has been no answer, if so. */
export function showState(figures, lost) {
  if (!figures && !lost) return;
  const state = stateOf(figures, lost);
  const { sign, word, means, act = [] } = STATES[state] ?? STATES.loading;
  document.body.dataset.state = state;
  document.title = state === 'live' ? 'Greenlane console' : `${word} · Greenlane console`;
  put('state-sign', sign);
  put('state-word', word);
  put('state-sentence', sentence(state, figures, lost));
  put('state-means', means ?? '');
  fill('state-act', act, () => act.map((step) => h('li', {}, step)));
  if (announced !== null && announced !== state) {
    put('announce', `Now ${word}. ${means ?? 'Decisions rest on confirmed data again.'}`);
  }
  announced = state;
  // What nobody confirms any more is not said beside the alarm.
  if (lost) by('state-facts').hidden = true;
  else showFacts(figures);
}

function showFacts(figures) {
  const { status, replica, version } = figures;
  const at = status.registryVersion;
  const since = Date.parse(status.stateSince);
  const shown = [at, status.stateSince, status.source, replica, version, figures.serving];
  fill('state-facts', shown, () => facts([
    ['Since', Number.isNaN(since) ? null : instant(since)],
    ['Position', at && h('span', { title: `epoch ${at.epoch}` }, `${at.sequence} of ${at.epoch.slice(0, 8)}`)],
    ['Source', status.source === 'file' ? 'snapshot file of an earlier life' : status.source],
    ['Replica', replica],
    ['Version', version.split(' ')[0]],
    ['Ready', figures.serving ? 'yes' : 'no'],
  ]));
  by('state-facts').hidden = false;
}
