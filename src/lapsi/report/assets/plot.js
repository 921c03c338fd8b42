// A canvas that can be brushed by pointer and keyboard. What it shows is drawn by its owner.

const plots = [];
const STEP = 0.05;  // of the plot, for each arrow key
const CLICK_BELOW = 4;  // pixels of movement
let theme = {};

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = ['ink', 'muted', 'line', 'surface', 'low', 'high', 'low-text', 'high-text', 'faint', 'bar', 'planted'];
  theme = Object.fromEntries(names.map((name) => [name, value(name)]));
  theme.ramp = ramp([1, 2, 3, 4, 5].map((stop) => value(`ramp-${stop}`)), 32);
  theme.categories = [1, 2, 3, 4, 5, 6, 7, 8].map((place) => value(`category-${place}`));
  theme.quadrants = [1, 2, 3, 4].map((place) => value(`quadrant-${place}`));
}

function ramp(stops, steps) {
  const colours = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  return Array.from({ length: steps }, (_, step) => {
    const position = (step / (steps - 1)) * (colours.length - 1);
    const left = Math.min(Math.floor(position), colours.length - 2);
    const mix = colours[left].map((from, channel) => Math.round(from + (colours[left + 1][channel] - from) * (position - left)));
    return `rgb(${mix.join(',')})`;
  });
}

const LSI_RANGE = (() => {
  const [low, high] = [data.logLsi[byLsi[0]], data.logLsi[byLsi[n - 1]]];
  const pad = high > low ? 0.02 * (high - low) : 0.5;
  return [low - pad, high + pad];
})();
const colourStep = (value) => {
  const share = (value - LSI_RANGE[0]) / (LSI_RANGE[1] - LSI_RANGE[0]);
  return Math.max(0, Math.min(31, Math.floor(share * 32)));
};

/**
 * options: height(width), margin(width, ctx), direction 'x' | 'y' | 'xy', label,
 * draw(ctx, area), brush(rectangle in shares of the area, or null), click(x, y, area), tip(x, y, area) → lines or null.
 */
function makePlot(host, options) {
  const canvas = el('canvas', { tabindex: 0, role: 'application', 'aria-roledescription': 'plot', 'aria-label': options.label });
  const box = el('div', { class: 'brush', hidden: true });
  host.append(canvas, box);
  const plot = { canvas, host, area: null, rectangle: null, draw: () => {}, clear: () => setRectangle(null) };
  const ctx = canvas.getContext('2d');

  function draw() {
    const width = host.clientWidth;
    if (!width) return;
    const height = options.height(width);
    const scale = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      canvas.style.height = `${height}px`;
    }
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    ctx.clearRect(0, 0, width, height);
    ctx.font = '12px system-ui, sans-serif';
    const margin = options.margin(width, ctx);
    plot.area = { left: margin.left, top: margin.top, width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
    options.draw(ctx, plot.area);
    showBox();
  }
  plot.draw = onFrame(draw);
  plot.drawNow = draw;

  function showBox() {
    box.hidden = plot.rectangle === null || options.direction === 'y';
    if (box.hidden) return;
    const { left, top, width, height } = plot.area;
    const { x0, x1, y0, y1 } = plot.rectangle;
    Object.assign(box.style, {
      left: `${left + x0 * width}px`, width: `${(x1 - x0) * width}px`, top: `${top + y0 * height}px`, height: `${(y1 - y0) * height}px`,
    });
  }

  function setRectangle(rectangle) {
    plot.rectangle = rectangle;
    showBox();
    options.brush(rectangle);
  }

  const share = (event) => {
    const bounds = canvas.getBoundingClientRect();
    const { left, top, width, height } = plot.area;
    const clamp = (value) => Math.max(0, Math.min(1, value));
    return [clamp((event.clientX - bounds.left - left) / width), clamp((event.clientY - bounds.top - top) / height)];
  };
  const between = ([ax, ay], [bx, by]) => {
    const [x0, x1] = options.direction === 'y' ? [0, 1] : [Math.min(ax, bx), Math.max(ax, bx)];
    const [y0, y1] = options.direction === 'x' ? [0, 1] : [Math.min(ay, by), Math.max(ay, by)];
    return { x0, x1, y0, y1 };
  };

  let start = null;
  canvas.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    start = { at: share(event), x: event.clientX, y: event.clientY, moved: false };
    hideTip();
  });
  canvas.addEventListener('pointermove', (event) => {
    if (start === null) {
      const bounds = canvas.getBoundingClientRect();
      showTip(options.tip(event.clientX - bounds.left, event.clientY - bounds.top, plot.area), event.clientX, event.clientY);
      return;
    }
    start.moved ||= Math.hypot(event.clientX - start.x, event.clientY - start.y) >= CLICK_BELOW;
    if (start.moved) setRectangle(between(start.at, share(event)));
  });
  canvas.addEventListener('pointerup', (event) => {
    if (start && !start.moved) {
      const bounds = canvas.getBoundingClientRect();
      options.click(event.clientX - bounds.left, event.clientY - bounds.top, plot.area, plot);
    }
    start = null;
  });
  canvas.addEventListener('pointercancel', () => { start = null; });
  canvas.addEventListener('pointerleave', hideTip);
  canvas.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && plot.rectangle) {
      setRectangle(null);
      event.preventDefault();
      return;
    }
    const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const first = between([0.4, 0.4], [0.6, 0.6]);
    setRectangle(plot.rectangle === null ? first : shifted(plot.rectangle, moves[event.key], event.shiftKey, options.direction));
  });
  plot.setRectangle = setRectangle;
  new ResizeObserver(plot.draw).observe(host);
  plots.push(plot);
  return plot;
}

/** Moves a rectangle within the plot, or its far edge where `resize` is set. */
function shifted({ x0, x1, y0, y1 }, [dx, dy], resize, direction) {
  const along = (from, to, by) => {
    if (resize) return [from, Math.max(from + STEP / 2, Math.min(1, to + by))];
    const step = Math.max(-from, Math.min(1 - to, by));
    return [from + step, to + step];
  };
  const [left, right] = direction === 'y' ? [x0, x1] : along(x0, x1, dx);
  const [top, bottom] = direction === 'x' ? [y0, y1] : along(y0, y1, dy);
  return { x0: left, x1: right, y0: top, y1: bottom };
}

function redrawPlots() {
  for (const plot of plots) plot.draw();
}

function showTip(lines, x, y) {
  const tip = $('tip');
  if (!lines) {
    hideTip();
    return;
  }
  tip.replaceChildren(...lines.map((line) => (line instanceof Node ? line : el('div', {}, line))));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(innerWidth - width - 8, x + 14))}px`;
  tip.style.top = `${y + 18 + height > innerHeight ? Math.max(8, y - height - 12) : y + 18}px`;
}

function hideTip() {
  $('tip').hidden = true;
}

const sampleTip = (() => {
  let [last, lines] = [-1, []];
  return (row) => {
    if (row !== last) {
      lines = [...glanceAt(row), data.ids[row], targets.say.tip(row),
        `LSI ${number(data.measures.lsi[row])}, ${targets.say.quality} ${percent(data.measures.label_quality[row])}`];
      last = row;
    }
    return lines;
  };
})();

/** Text cut to a width, with an ellipsis. */
function fitText(ctx, text, width) {
  if (ctx.measureText(text).width <= width) return text;
  let [fits, over] = [0, text.length];
  while (over - fits > 1) {
    const middle = (fits + over) >> 1;
    if (ctx.measureText(`${text.slice(0, middle)}…`).width <= width) fits = middle;
    else over = middle;
  }
  return fits ? `${text.slice(0, fits)}…` : '';
}

/** Round values of a logarithmic axis from 10^low to 10^high. */
function logTicks(low, high) {
  const ticks = [];
  const steps = high - low > 2.5 ? [1] : high - low > 0.7 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
  for (let decade = Math.floor(low); decade <= high; decade++) {
    for (const step of steps) {
      const at = decade + Math.log10(step);
      if (at >= low && at <= high) ticks.push({ at, text: step === 1 && (decade < -3 || decade > 4) ? power(decade) : number(step * 10 ** decade) });
    }
  }
  return ticks.map(({ at, text }) => ({ at, text: text.replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '') }));
}

/** A horizontal axis below the area; labels that would touch the one before are left out. */
function drawLogX(ctx, area, title, gap = 8) {
  const [low, high] = LSI_RANGE;
  const base = area.top + area.height;
  ctx.textAlign = 'center';
  ctx.textBaseline = 'top';
  let free = -Infinity;
  for (const { at, text } of logTicks(low, high)) {
    const x = area.left + ((at - low) / (high - low)) * area.width;
    ctx.fillStyle = theme.line;
    ctx.fillRect(Math.round(x), area.top, 1, area.height + 4);
    const half = ctx.measureText(text).width / 2;
    const place = Math.max(half, Math.min(area.left + area.width + 12 - half, x));
    if (place - half < free) continue;
    ctx.fillStyle = theme.muted;
    ctx.fillText(text, place, base + gap);
    free = place + half + 10;
  }
  ctx.fillStyle = theme.muted;
  ctx.fillText(title, area.left + area.width / 2, base + gap + 20);
}

/** Round values of a linear axis. */
function linearTicks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((each) => each >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, place) => Number(((first + place) * step).toPrecision(12)));
}

/** A horizontal axis below the area, at the given values or round ones; those that would touch the one before are left out. */
function drawLinearX(ctx, area, low, high, title, values = linearTicks(low, high, 5)) {
  const base = area.top + area.height;
  ctx.textAlign = 'center';
  ctx.textBaseline = 'top';
  let free = -Infinity;
  for (const value of values) {
    const x = area.left + ((value - low) / (high - low)) * area.width;
    ctx.fillStyle = theme.line;
    ctx.fillRect(Math.round(x), area.top, 1, area.height + 4);
    const half = ctx.measureText(figure(value)).width / 2;
    if (x - half < free) continue;
    ctx.fillStyle = theme.muted;
    ctx.fillText(figure(value), x, base + 8);
    free = x + half + 10;
  }
  ctx.fillStyle = theme.muted;
  ctx.fillText(fitText(ctx, title, area.width), area.left + area.width / 2, base + 28);
}
