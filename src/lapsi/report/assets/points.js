// Clouds of points: LSI against confidence with its quadrants, and the map of the features.

const MANY = 6000;
const VERY_MANY = 20000;
const TURNS = 16;  // in which many points are drawn, so that none of the groups hides the others
const NEAR = 12;  // pixels
const SHAPES = ['circle', 'square', 'triangle', 'diamond'];
const LEGEND_ENTRIES = 32;

/** A brushable cloud. options: name, title, x and y (n,) and ranges (read anew for each drawing), groups() → per row, style(group) → colour and shape, frame(ctx, area). */
function makeCloud(options) {
  const [px, py] = [new Float32Array(n), new Float32Array(n)];
  let size = 0;

  function place(area) {
    const { x, y, ranges: [[left, right], [bottom, top]] } = options;
    for (let row = 0; row < n; row++) {
      px[row] = area.left + ((x[row] - left) / (right - left)) * area.width;
      py[row] = area.top + ((top - y[row]) / (top - bottom)) * area.height;
    }
  }

  function draw(ctx, area) {
    place(area);
    options.frame(ctx, area);
    size = n > VERY_MANY ? 1 : n > MANY ? 1.4 : n > 1500 ? 2.3 : 3.2;
    if (view.filtered) drawRows(ctx, (row) => !view.mask[row], () => 0, () => ({ colour: theme.faint, shape: 'square' }), 1);
    drawRows(ctx, (row) => view.mask[row], options.group, options.style, options.groups());
    if (planted) ring(ctx, (row) => view.mask[row] && plantedRows[row]);
    options.over(ctx, area);
  }

  function drawRows(ctx, accepts, group, style, groups) {
    const turns = n > MANY ? TURNS : 1;
    const parts = Array.from({ length: turns * groups }, () => []);
    const order = parts.map((_, place) => place);
    if (turns > 1) order.sort((a, b) => Math.floor(a / groups) - Math.floor(b / groups) || lot(a) - lot(b));
    for (let row = 0; row < n; row++) if (accepts(row)) parts[(turns > 1 ? turnOf(row) : 0) * groups + group(row)].push(row);
    ctx.globalAlpha = n > VERY_MANY ? 0.4 : n > MANY ? 0.65 : 1;
    for (const place of order) {
      const rows = parts[place];
      if (!rows.length) continue;
      const { colour, shape } = style(place % groups);
      ctx.fillStyle = colour;
      ctx.beginPath();
      for (const row of rows) trace(ctx, n > MANY && shape === 'circle' ? 'square' : shape, px[row], py[row], size);
      ctx.fill();
    }
    ctx.globalAlpha = 1;
  }

  function ring(ctx, accepts) {
    ctx.strokeStyle = theme.planted;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    for (let row = 0; row < n; row++) {
      if (!accepts(row)) continue;
      ctx.moveTo(px[row] + size + 2, py[row]);
      ctx.arc(px[row], py[row], size + 2, 0, 7);
    }
    ctx.stroke();
  }

  function nearest(mouseX, mouseY) {
    let [best, least] = [-1, NEAR ** 2];
    for (let row = 0; row < n; row++) {
      if (view.filtered && !view.mask[row]) continue;
      const distance = (px[row] - mouseX) ** 2 + (py[row] - mouseY) ** 2;
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  }

  const plot = makePlot($(options.name), {
    label: options.label,
    direction: 'xy',
    height: (width) => Math.round(Math.max(300, Math.min(460, width * 0.7))),
    margin: options.margin,
    draw,
    brush: (rectangle) => {
      if (rectangle === null) {
        select(options.name, '', null);
        return;
      }
      const { x, y, ranges: [[left, right], [bottom, top]] } = options;
      const [x0, x1] = [rectangle.x0, rectangle.x1].map((share) => left + share * (right - left));
      const [y0, y1] = [rectangle.y1, rectangle.y0].map((share) => top - share * (top - bottom));
      select(options.name, options.title, (row) => x[row] >= x0 && x[row] <= x1 && y[row] >= y0 && y[row] <= y1, plot.clear);
    },
    click: (mouseX, mouseY) => {
      const row = nearest(mouseX, mouseY);
      if (row >= 0) openDetail(row);
      else if (plot.rectangle) plot.clear();
    },
    tip: (mouseX, mouseY) => {
      const row = nearest(mouseX, mouseY);
      return row < 0 ? null : sampleTip(row);
    },
  });
  return plot;
}

/** Of 32 bits, spread evenly whatever the order that is counted in (steps of the golden ratio). */
const lot = (place) => Math.imul(place + 1, 2654435761) >>> 0;
const turnOf = (row) => Math.floor((lot(row) / 2 ** 32) * TURNS);

function trace(ctx, shape, x, y, size) {
  if (shape === 'square') ctx.rect(x - size, y - size, 2 * size, 2 * size);
  else if (shape === 'circle') {
    ctx.moveTo(x + size, y);
    ctx.arc(x, y, size, 0, 7);
  } else {
    const big = size * 1.25;
    ctx.moveTo(x, y - big);
    ctx.lineTo(x + big, shape === 'triangle' ? y + big * 0.8 : y);
    if (shape === 'diamond') ctx.lineTo(x, y + big);
    ctx.lineTo(x - big, shape === 'triangle' ? y + big * 0.8 : y);
    ctx.closePath();
  }
}

function setUpScatter() {
  const { lsi, upper, lower, ends, corners, names, meanings } = about.quadrants;
  const { axis } = targets;
  const pad = 0.1 * (LSI_RANGE[1] - LSI_RANGE[0]);  // room for the names of the quadrants
  const farthest = sideways.reduce((most, value) => Math.max(most, value), Math.max(upper, lower));
  const [left, right] = ends ?? [-0.02 * farthest, 1.05 * farthest];
  const ranges = [[left, right], [LSI_RANGE[0] - pad, LSI_RANGE[1] + pad]];
  const line = Math.log10(Math.max(lsi, data.floor));
  const across = (value, area) => area.left + ((value - left) / (right - left)) * area.width;
  const down = (value, area) => area.top + ((ranges[1][1] - value) / (ranges[1][1] - ranges[1][0])) * area.height;

  function frame(ctx, area) {
    ctx.textBaseline = 'middle';
    ctx.textAlign = 'right';
    let free = Infinity;
    for (const { at, text } of logTicks(...ranges[1])) {
      const y = down(at, area);
      ctx.fillStyle = theme.line;
      ctx.fillRect(area.left - 4, Math.round(y), area.width + 4, 1);
      ctx.fillStyle = theme.muted;
      if (y + 8 < free && y > area.top) {
        ctx.fillText(text, area.left - 8, y);
        free = y - 8;
      }
    }
    ctx.textAlign = 'left';
    ctx.fillText('LSI in nats, logarithmic', 0, 12);
    drawLinearX(ctx, area, left, right, ctx.measureText(axis.wide).width > area.width ? axis.narrow : axis.wide, axis.ticks ?? undefined);
  }

  function over(ctx, area) {
    ctx.strokeStyle = theme.ink;
    ctx.lineWidth = 1;
    ctx.setLineDash([4, 3]);
    ctx.beginPath();
    const y = Math.round(down(line, area)) + 0.5;
    ctx.moveTo(area.left, y);
    ctx.lineTo(area.left + area.width, y);
    ctx.moveTo(across(upper, area), area.top);
    ctx.lineTo(across(upper, area), y);
    ctx.moveTo(across(lower, area), y);
    ctx.lineTo(across(lower, area), area.top + area.height);
    ctx.stroke();
    ctx.setLineDash([]);
    nameCorners(ctx, area);
  }

  function nameCorners(ctx, area) {
    ctx.font = '600 12px system-ui, sans-serif';
    ctx.textBaseline = 'middle';
    const narrow = area.width < 280;  // two words would touch across the middle: one word a line
    names.forEach((name, code) => {
      const lines = narrow ? [name.slice(0, name.lastIndexOf(' ') + 1).trim(), name.slice(name.lastIndexOf(' ') + 1)].filter(Boolean) : [name];
      const corner = corners.indexOf(code);
      const right = corner % 2 === 1;
      const x = right ? area.left + area.width - 6 : area.left + 6;
      const first = corner < 2 ? area.top + area.height - 12 - 16 * (lines.length - 1) : area.top + 12;
      const width = Math.max(...lines.map((line) => ctx.measureText(line).width)) + 8;
      ctx.globalAlpha = 0.82;
      ctx.fillStyle = theme.surface;
      ctx.fillRect(right ? x - width + 4 : x - 4, first - 9, width, 16 * lines.length + 2);
      ctx.globalAlpha = 1;
      ctx.fillStyle = theme.ink;
      ctx.textAlign = right ? 'right' : 'left';
      lines.forEach((line, place) => ctx.fillText(line, x, first + 16 * place));
    });
    ctx.font = '12px system-ui, sans-serif';
  }

  makeCloud({
    name: 'scatter',
    title: axis.title,
    label: `${axis.label} Arrow keys place a selection; the buttons below select a quadrant.`,
    x: sideways,
    y: data.logLsi,
    ranges,
    margin: (_, ctx) => ({ left: 14 + Math.max(...logTicks(...ranges[1]).map(({ text }) => ctx.measureText(text).width), 20), right: 14, top: 28, bottom: 48 }),
    groups: () => 4,
    group: (row) => quadrant[row],
    style: (code) => ({ colour: theme.quadrants[code], shape: 'circle' }),
    frame,
    over,
  });

  const sizes = [0, 0, 0, 0];
  for (const code of quadrant) sizes[code] += 1;
  const buttons = [3, 2, 1, 0].map((code) => el('button', {
    type: 'button', 'aria-pressed': 'false', class: 'quadrant', title: meanings[code], onclick: () => toggle(code),
  }, el('i', { class: `swatch q${code + 1}` }), el('span', {}, names[code]), el('b', {}, count(sizes[code]))));
  let chosen = null;
  const clear = () => toggle(chosen);
  function toggle(code) {
    chosen = chosen === code ? null : code;
    buttons.forEach((button, position) => button.setAttribute('aria-pressed', String(3 - position === chosen)));
    select('quadrant', chosen === null ? '' : names[chosen], chosen === null ? null : (row) => quadrant[row] === chosen, clear);
  }
  $('quadrants').append(...buttons);
}

function setUpMap() {
  if (!data.map) return;
  const x = data.map.filter((_, place) => place % 2 === 0);
  const y = data.map.filter((_, place) => place % 2 === 1);
  const range = (values) => {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const pad = high > low ? 0.03 * (high - low) : 1;
    return [low - pad, high + pad];
  };
  let byTarget = false;

  const plot = makeCloud({
    name: 'map',
    title: 'part of the map',
    label: 'Map. Arrow keys place and move a selection.',
    x,
    y,
    ranges: [range(x), range(y)],
    margin: () => ({ left: 8, right: 8, top: 8, bottom: 8 }),
    groups: () => (byTarget ? targets.colouring.groups : 32),
    group: (row) => (byTarget ? targets.colouring.group(row) : colourStep(data.logLsi[row])),
    style: (group) => (byTarget ? targets.colouring.style(group) : { colour: theme.ramp[group], shape: 'circle' }),
    frame: (ctx, area) => {
      ctx.strokeStyle = theme.line;
      ctx.strokeRect(area.left + 0.5, area.top + 0.5, area.width - 1, area.height - 1);
    },
    over: () => {},
  });

  function show(which) {
    byTarget = which;
    $('by-lsi').setAttribute('aria-pressed', String(!byTarget));
    $('by-class').setAttribute('aria-pressed', String(byTarget));
    $('map-legend').replaceChildren(...(byTarget ? targets.colouring.legend() : lsiLegend()));
    plot.draw();
  }
  $('by-lsi').addEventListener('click', () => show(false));
  $('by-class').addEventListener('click', () => show(true));
  plot.afterTheme = () => show(byTarget);
  show(false);
}

/** A bar of all colours with its two ends. */
function rampLegend(low, high) {
  const bar = el('canvas', { class: 'ramp', width: 32, height: 1, 'aria-hidden': 'true' });
  const ctx = bar.getContext('2d');
  theme.ramp.forEach((colour, step) => { ctx.fillStyle = colour; ctx.fillRect(step, 0, 1, 1); });
  return [el('span', {}, low), bar, el('span', {}, high)];
}

const lsiLegend = () => {
  const [low, high] = [data.measures.lsi[byLsi[0]], data.measures.lsi[byLsi[n - 1]]];
  return rampLegend(`LSI ${number(low)}`, `${number(high)} nats, logarithmic`);
};

/** How named groups are coloured: eight colours, then the same in other shapes. */
function coloursOf(names, group) {
  const style = (code) => ({ colour: theme.categories[code % 8], shape: SHAPES[Math.floor(code / 8) % 4] });
  const entry = (name, code) => {
    const key = el('canvas', { width: 28, height: 28, class: 'key', 'aria-hidden': 'true' });
    const ctx = key.getContext('2d');
    const { colour, shape } = style(code);
    ctx.fillStyle = colour;
    ctx.beginPath();
    trace(ctx, shape, 14, 14, 9);
    ctx.fill();
    return el('span', { class: 'entry' }, key, el('span', { title: name }, name));
  };
  const legend = () => {
    const more = names.length - LEGEND_ENTRIES;
    const entries = names.slice(0, LEGEND_ENTRIES).map(entry);
    return more > 0 ? [...entries, el('span', {}, `and ${count(more)} more, colours and shapes repeat`)] : entries;
  };
  return { groups: names.length, group, style, legend };
}
