// Elements, and how figures are written. Whatever comes from data goes into text nodes, never into markup.

const SVG = 'http://www.w3.org/2000/svg';

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element with attributes (`on...`: listeners) and children; those that are null, undefined or false are left out. */
export const h = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
/** The same of a drawing. */
export const s = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);
/** The element of that id. */
export const by = (id) => document.getElementById(id);

/** Puts text where it is not already, so that nothing is painted or read out anew for nothing. */
export function put(id, text) {
  const element = by(id);
  if (element.textContent !== text) element.textContent = text;
}

/** Puts other children into an element unless what they show is what it shows already. */
export function fill(id, shown, children) {
  const element = by(id);
  const key = JSON.stringify(shown);
  if (element.shown === key) return;
  element.shown = key;
  element.replaceChildren(...children().flat(Infinity).filter(Boolean));
}

/** A list of terms and what they are, leaving out those that are null. */
export const facts = (pairs) => pairs
  .filter(([, value]) => value !== null && value !== undefined && value !== '')
  .map(([term, value]) => h('div', {}, h('dt', {}, term), h('dd', {}, value)));

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
export const count = (number) => whole.format(Number(number ?? 0));

/** A rate per second: as many digits as can be read at a glance. */
export function perSecond(rate) {
  if (rate === null || rate === undefined) return '–';
  return rate >= 100 ? whole.format(rate) : rate.toFixed(1);
}

/** Parts per million as per cent. */
export function percent(ppm) {
  const share = Number(ppm ?? 0) / 10_000;
  if (share === 0 || share >= 100) return `${share} %`;
  return `${share >= 10 ? share.toFixed(2) : share >= 0.01 ? share.toPrecision(3) : share.toFixed(4)} %`;
}

/** Seconds of latency. */
export function latency(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  const [value, unit] = seconds < 1e-3 ? [seconds * 1e6, 'µs'] : seconds < 1 ? [seconds * 1e3, 'ms'] : [seconds, 's'];
  return `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)} ${unit}`;
}

/** A span of seconds in the two largest units that say something. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return 'for ever';
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const all = Math.floor(seconds);
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min ${all % 60} s`;
  if (all < 86_400) return `${Math.floor(all / 3600)} h ${Math.floor(all / 60) % 60} min`;
  return `${Math.floor(all / 86_400)} d ${Math.floor(all / 3600) % 24} h`;
}

/** How long ago. */
export const ago = (seconds) => `${seconds < 1 ? 'less than a second' : span(seconds)} ago`;

const two = (number) => String(number).padStart(2, '0');

/** What is left until an instant: days, hours, minutes, seconds. */
export function countdown(milliseconds) {
  const all = Math.max(0, Math.floor(milliseconds / 1000));
  const clock = [Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60, all % 60].map(two).join(':');
  return `${Math.floor(all / 86_400)} d ${clock}`;
}

/** The time of day here; with the date where it is another day. */
export function clock(milliseconds) {
  const at = new Date(milliseconds);
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(':');
  const today = new Date().toDateString() === at.toDateString();
  return today ? time : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

export const instant = (milliseconds) =>
  h('time', { datetime: new Date(milliseconds).toISOString(), title: new Date(milliseconds).toISOString() }, clock(milliseconds));

/** Seconds of a duration as proto3 JSON has it, such as "1.500s"; null when there is none. */
export const seconds = (duration) => (duration ? Number.parseFloat(duration) : null);

/** What is behind an enum's prefix: CREDIT_TIER_REGULAR is REGULAR. */
export const short = (name, prefix) => (name ?? '').replace(`${prefix}_`, '');

/** A code in words: LOWER_TIER_PREVAILS is "Lower tier prevails". */
export function human(code) {
  const words = code.toLowerCase().replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
