// Small helpers. Text reaches the page through textContent only, so nothing in a data set is ever read as markup.

const $ = (id) => document.getElementById(id);

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const SUPERSCRIPT = { '-': '⁻', 0: '⁰', 1: '¹', 2: '²', 3: '³', 4: '⁴', 5: '⁵', 6: '⁶', 7: '⁷', 8: '⁸', 9: '⁹' };
const power = (exponent) => `10${[...String(exponent)].map((sign) => SUPERSCRIPT[sign]).join('')}`;
const count = (value) => value.toLocaleString('en');
const percent = (value) => (value > 0 && value < 5e-4 ? '<0.1%' : `${(100 * value).toFixed(value > 0 && value < 0.0995 ? 1 : 0)}%`);
const plural = (value, noun) => `${count(value)} ${noun}${value === 1 ? '' : 's'}`;

/** Three significant digits, as a person writes them. */
function number(value) {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) {
    const [mantissa, exponent] = value.toExponential(2).split('e');
    return `${mantissa.replace('-', '−')} × ${power(Number(exponent))}`;
  }
  const decimals = Math.max(0, 2 - Math.floor(Math.log10(size)));
  return value.toLocaleString('en', { minimumFractionDigits: decimals, maximumFractionDigits: decimals }).replace('-', '−');
}

/** A given number with the digits that a person may want, up to six. */
function figure(value) {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-4 || size >= 1e12)) return number(value);
  return value.toLocaleString('en', size >= 1e6 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 6 }).replace('-', '−');
}

/** Calls `work` once before the next frame, however often it is asked for. */
function onFrame(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}

function afterPause(work, milliseconds) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds);
  };
}

const isTyping = (node) => node instanceof Element && node.matches('input:not([type=checkbox]), select, textarea');
