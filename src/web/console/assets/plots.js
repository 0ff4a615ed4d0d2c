// The plots over time. The library draws; tables beside them tell the same.
import { by, clock, latency, perSecond, put } from './dom.js';
import { LANES } from './words.js';

const HEIGHTS = { 'traffic-plot': 190, 'latency-plot': 236 };
/** The least that the upper end of each stands for: nothing at all shall look like nothing. */
const LEAST = { 'traffic-plot': 4, 'latency-plot': 0.001 };
const plots = new Map();
let last = [];

/** A colour as the page has it now, light or dark: canvases do not follow style sheets. */
function colour(name) {
  const probe = document.createElement('span');
  probe.className = name;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

const axis = (more) => ({
  stroke: colour('ink-muted'), font: '12px system-ui, sans-serif',
  grid: { stroke: colour('ink-grid'), width: 1 }, ticks: { stroke: colour('ink-grid'), width: 1, size: 4 }, ...more,
});

function plot(id, series, values, data, hover) {
  const place = by(id);
  const options = {
    width: place.clientWidth, height: HEIGHTS[id], series: [{}, ...series], legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { y: { range: (_, least, most) => [0, Math.max(most * 1.1, LEAST[id])] } },
    axes: [axis({ space: 70, size: 30, values: (_, splits) => splits.map((at) => clock(at * 1000).slice(-8)) }), axis({ size: 58, values })],
    hooks: { setCursor: [(drawn) => hover?.(drawn.cursor.idx)] },
  };
  const drawn = new globalThis.uPlot(options, data, place);
  const resized = new ResizeObserver(() => drawn.setSize({ width: place.clientWidth, height: HEIGHTS[id] }));
  resized.observe(place);
  plots.set(id, { drawn, resized });
}

const line = (name, dash) => ({
  stroke: colour(name), width: 2, points: { show: false }, dash: dash.split(' ').filter(Boolean).map(Number),
});

function readout(at) {
  const row = at === null || at === undefined ? null : last[at];
  put('traffic-at', row
    ? `${clock(row[0])}  ${Object.keys(LANES).map((name, lane) => `${name} ${perSecond(row[lane + 1])}`).join(' · ')}`
    : 'by lane, last ten minutes');
}

const columns = (picked) => [last.map((row) => row[0] / 1000), ...picked.map((column) => last.map((row) => row[column] ?? null))];

/** Draws the history. */
export function showPlots(history) {
  last = history;
  if (!globalThis.uPlot || last.length < 2) return;
  const traffic = columns([1, 2, 3, 4, 5]);
  const answer = columns([6, 7]);
  if (plots.size) {
    plots.get('traffic-plot').drawn.setData(traffic);
    plots.get('latency-plot').drawn.setData(answer);
    return;
  }
  const lanes = Object.entries(LANES).map(([name, { dash }]) => line(`lane-${name}`, dash));
  plot('traffic-plot', lanes, (_, splits) => splits.map((value) => (value % 1 ? value.toFixed(1) : String(value))), traffic, readout);
  plot('latency-plot', [line('ink-strong', ''), line('ink-muted', '4 3')], (_, splits) => splits.map((value) => (value ? latency(value) : '0')), answer);
}

/** Draws everything anew, in the colours of now. */
export function repaint() {
  for (const { drawn, resized } of plots.values()) {
    resized.disconnect();
    drawn.destroy();
  }
  plots.clear();
  showPlots(last);
}
