// The page's heart: asks for the figures once a second while somebody looks, and says so when there is no answer.
import { by, clock, put } from './dom.js';
import { begin as beginExplorer } from './explorer.js';
import { begin as beginLookup } from './lookup.js';
import { showPanels } from './panels.js';
import { repaint, showPlots } from './plots.js';
import { showRates } from './rates.js';
import { showState } from './state.js';

const EVERY = 1000;
const PATIENCE = 4000;
/** Rows of history that are kept: ten minutes. */
const KEPT = 600;

const seen = { figures: null, at: 0, history: [], problem: null, begun: Date.now() };
let asking = null;
let next = 0;

async function ask() {
  clearTimeout(next);
  if (document.hidden || asking) return;
  asking = new AbortController();
  const giveUp = setTimeout(() => asking.abort(), PATIENCE);
  const since = seen.history.at(-1)?.[0] ?? 0;
  try {
    const answer = await fetch(`/console/figures?since=${since}`, { signal: asking.signal, cache: 'no-store' });
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    take(await answer.json());
  } catch (problem) {
    seen.problem = problem instanceof TypeError || problem.name === 'AbortError' ? 'no answer' : problem.message;
  } finally {
    clearTimeout(giveUp);
    asking = null;
    show();
    next = setTimeout(ask, EVERY);
  }
}

function take(figures) {
  // A replica that was started anew has a history of its own.
  if (figures.version !== seen.figures?.version || figures.startedAt !== seen.figures?.startedAt) seen.history = [];
  seen.history = [...seen.history, ...figures.history].slice(-KEPT);
  Object.assign(seen, { figures, at: Date.now(), problem: null });
  put('replica', figures.replica);
  put('version', `Greenlane ${figures.version}`);
  put('as-of', clock(figures.at));
}

/** Shows what is known; without an answer for more than a moment, says that there is none. */
function show() {
  const silent = Date.now() - (seen.at || seen.begun);
  const lost = seen.problem && (silent > 2500 || !seen.figures);
  showState(seen.figures, lost ? { silent, since: seen.at || seen.begun, problem: seen.problem } : null);
  if (!seen.figures || lost) return;
  showPanels(seen.figures, seen.history);
  showRates(seen.figures.rates);
  showPlots(seen.history);
}

function theme() {
  const themes = ['system', 'light', 'dark'];
  const root = document.documentElement;
  const tell = () => put('theme', `Theme: ${root.dataset.theme ?? 'system'}`);
  by('theme').addEventListener('click', () => {
    const chosen = themes[(themes.indexOf(root.dataset.theme ?? 'system') + 1) % themes.length];
    if (chosen === 'system') delete root.dataset.theme;
    else root.dataset.theme = chosen;
    try {
      if (chosen === 'system') localStorage.removeItem('greenlane-theme');
      else localStorage.setItem('greenlane-theme', chosen);
    } catch { /* It holds as long as the page is open. */ }
    tell();
    repaint();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);
  tell();
}

theme();
beginExplorer(() => seen.figures);
beginLookup();
document.addEventListener('visibilitychange', ask);
// Ages and times without contact go on while an answer is waited for.
setInterval(() => { if (!document.hidden && seen.problem) show(); }, EVERY);
ask();
