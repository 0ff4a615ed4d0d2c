// Realized rates against the law: a table whose rows carry a plot each, on one logarithmic axis.
import { by, count, fill, h, human, percent, put, s } from './dom.js';

/** The axis goes from 0.01 % to 100 %; what is below, zero too, stands at its left end. */
const LEAST = 100;
const DECADES = 4;
const TICKS = [[100, '0.01'], [1000, '0.1'], [10_000, '1'], [100_000, '10'], [1_000_000, '100 %']];

const place = (ppm) => `${(100 * Math.min(1, Math.max(0, Math.log10(Math.max(ppm, 1) / LEAST) / DECADES))).toFixed(2)}%`;
const width = (from, to) => `${(Number.parseFloat(place(to)) - Number.parseFloat(place(from))).toFixed(2)}%`;
const better = (tier) => tier === 'ADVANCED_CERTIFIED' || tier === 'CERTIFIED';

function law({ creditTier, limitPpm }) {
  if (limitPpm === null) return 'none';
  return `${better(creditTier) ? 'at most' : 'at least'} ${percent(limitPpm)}`;
}

/** A class, a sign and words for how the rate stands to the law. */
function verdict({ creditTier, drawn, limitPpm, lowerPpm, upperPpm, breached, breachedOffices }) {
  if (breached) return ['bad', '✖ BREACHED'];
  if (breachedOffices > 0) return ['bad', `✖ BREACHED at ${count(breachedOffices)} ${breachedOffices > 1 ? 'offices' : 'office'}`];
  if (!drawn) return ['', 'nothing drawn'];
  if (limitPpm === null) return ['', 'no limit'];
  const kept = better(creditTier) ? upperPpm <= limitPpm : lowerPpm >= limitPpm;
  return kept ? ['good', '● kept'] : ['', '○ no breach shown'];
}

function plot(rate) {
  const { creditTier, drawn, limitPpm, lowerPpm, upperPpm, realizedPpm } = rate;
  const [from, to] = better(creditTier) ? [LEAST, limitPpm] : [limitPpm, 1_000_000];
  return s('svg', { class: 'interval', width: '100%', height: 26, 'aria-hidden': 'true' },
    TICKS.map(([ppm]) => s('line', { class: 'grid', x1: place(ppm), x2: place(ppm), y1: 0, y2: 26 })),
    limitPpm !== null && [
      s('rect', { class: 'lawful', x: place(from), width: width(from, to), y: 3, height: 20 }),
      s('line', { class: 'limit', x1: place(limitPpm), x2: place(limitPpm), y1: 1, y2: 25 }),
    ],
    drawn > 0 && [
      s('line', { class: 'bounds', x1: place(lowerPpm), x2: place(upperPpm), y1: 13, y2: 13 }),
      [lowerPpm, upperPpm].map((ppm) => s('line', { class: 'bounds', x1: place(ppm), x2: place(ppm), y1: 8, y2: 18 })),
      s('circle', { class: 'rate', cx: place(realizedPpm), cy: 13, r: 4.5 }),
    ]);
}

/** Shows the rates of the month. */
export function showRates({ month, tiers }) {
  put('rates-month', `${month}, all offices`);
  if (!by('axis').hasChildNodes()) {
    by('axis').append(s('svg', { width: '100%', height: 16 }, TICKS.map(([ppm, label], at) =>
      s('text', { x: place(ppm), y: 12, 'text-anchor': at === 0 ? 'start' : at === TICKS.length - 1 ? 'end' : 'middle' }, label))));
  }
  fill('rates-rows', tiers, () => tiers.map((rate) => {
    const { creditTier, drawn, selected, realizedPpm, lowerPpm, upperPpm, decided, mandated, targeted } = rate;
    const [state, words] = verdict(rate);
    const cell = (name, label, ...children) => h('td', { role: 'cell', class: name, 'data-label': label }, ...children);
    const about = `${count(decided)} declarations decided; ${count(mandated)} inspections mandated, ${count(targeted)} targeted`;
    return h('tr', { role: 'row', 'data-tier': creditTier },
      h('th', { role: 'rowheader', scope: 'row', title: about }, human(creditTier)),
      cell('number', 'Drawn', drawn ? `${count(selected)} of ${count(drawn)}` : '0'),
      cell('number realized', 'Realized', drawn ? percent(realizedPpm) : '–'),
      cell('number', 'Bounds', drawn ? `${percent(lowerPpm)} to ${percent(upperPpm)}` : '–'),
      cell('number', 'Law', law(rate)),
      cell('axis', '', plot(rate)),
      cell('verdict', 'Verdict', h('span', { class: `chip ${state}` }, words)));
  }));
}
