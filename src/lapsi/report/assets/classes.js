// LSI by part (class, label, quarter), ordered by median: thin line 90 %, thick bar 50 %, dot median; ticks are selected samples.
// Where few parts leave room, the distribution of each stands above its bar.

const LEAST_HEIGHT = 28;
const FILLED = 264;  // pixels that few parts share
const TALLEST = 364;
const ROOMY = 56;  // pixels of a part above which its distribution is drawn
const HUMPS = 48;  // bins of a distribution
const presentClasses = targets.parts.map((_, code) => code).filter((code) => about.spread[code]);
const CLASS_HEIGHT = Math.max(LEAST_HEIGHT, Math.floor(FILLED / Math.max(1, presentClasses.length)));
const classesHeight = Math.min(TALLEST, presentClasses.length * CLASS_HEIGHT) + 56;

function setUpClasses() {
  const { parts, say } = targets;
  const order = presentClasses.sort((a, b) => about.spread[b][4] - about.spread[a][4]);
  const place = new Int32Array(targets.parts.length).fill(-1);
  order.forEach((code, position) => { place[code] = position; });
  const [low, high] = LSI_RANGE;
  const host = $('classes');
  const whole = order.length * CLASS_HEIGHT;
  const tall = Math.min(TALLEST, whole);
  let chosen = null;
  let first = 0;  // pixels scrolled away

  const roomy = CLASS_HEIGHT >= ROOMY && data.rows === null;  // some of the samples would give another distribution
  const barAt = (position, area) => area.top + position * CLASS_HEIGHT - first + (roomy ? CLASS_HEIGHT - 20 : CLASS_HEIGHT / 2);
  const shares = roomy ? sharesOfParts() : null;

  const classAt = (y, area) => order[Math.floor((y - area.top + first) / CLASS_HEIGHT)];

  function draw(ctx, area) {
    drawLogX(ctx, area, 'LSI in nats, logarithmic');
    ctx.save();
    ctx.beginPath();
    ctx.rect(0, area.top, area.left + area.width + 12, area.height);
    ctx.clip();
    const x = (value) => area.left + ((Math.log10(Math.max(value, data.floor)) - low) / (high - low)) * area.width;
    const from = Math.floor(first / CLASS_HEIGHT);
    const to = Math.min(order.length, Math.ceil((first + area.height) / CLASS_HEIGHT));
    for (let position = from; position < to; position++) {
      const code = order[position];
      const [y, active] = [barAt(position, area), chosen === null || chosen.has(code)];
      if (roomy) drawShares(ctx, area, code, y - 10, active);
      drawClass(ctx, area, code, x, y, active);
    }
    if (view.filtered) {
      ctx.fillStyle = theme.ink;
      ctx.globalAlpha = 0.55;
      for (const row of view.shown) {
        for (const code of targets.partsOf(row)) {
          const y = barAt(place[code], area);
          if (y > -20 && y < area.top + area.height + 20) ctx.fillRect(x(data.measures.lsi[row]), y - 9, 1, 5);
        }
      }
    }
    ctx.restore();
  }

  /** The share of each bin in its part, of all parts on one scale. */
  function sharesOfParts() {
    const counts = parts.map(() => new Float64Array(HUMPS));
    const bin = (row) => Math.min(HUMPS - 1, Math.floor(((data.logLsi[row] - low) / (high - low)) * HUMPS));
    for (let row = 0; row < n; row++) for (const code of targets.partsOf(row)) counts[code][bin(row)] += 1;
    for (const code of order) counts[code] = counts[code].map((each) => each / about.spread[code][0]);
    const most = order.reduce((top, code) => counts[code].reduce((a, b) => Math.max(a, b), top), 0);
    return counts.map((bins) => bins.map((share) => share / most));
  }

  function drawShares(ctx, area, code, base, active) {
    const [width, height] = [area.width / HUMPS, CLASS_HEIGHT - 40];
    ctx.fillStyle = active ? theme.bar : theme.faint;
    ctx.globalAlpha = active ? 0.4 : 1;
    shares[code].forEach((share, bin) => ctx.fillRect(area.left + bin * width, base - share * height, width - 1, share * height));
    ctx.globalAlpha = 1;
  }

  function drawClass(ctx, area, code, x, y, active) {
    const [, , q05, q25, q50, q75, q95] = about.spread[code];
    ctx.textAlign = 'right';
    ctx.textBaseline = 'middle';
    ctx.fillStyle = active ? theme.ink : theme.muted;
    ctx.fillText(fitText(ctx, parts[code], area.left - 16), area.left - 10, y);
    ctx.fillStyle = active ? theme.bar : theme.faint;
    ctx.fillRect(x(q05), y - 1, Math.max(1, x(q95) - x(q05)), 2);
    ctx.fillRect(x(q25), y - 5, Math.max(2, x(q75) - x(q25)), 10);
    ctx.fillStyle = theme.surface;
    ctx.beginPath();
    ctx.arc(x(q50), y, 6, 0, 7);
    ctx.fill();
    ctx.fillStyle = active ? theme.ramp[colourStep(Math.log10(Math.max(q50, data.floor)))] : theme.muted;
    ctx.beginPath();
    ctx.arc(x(q50), y, 4.5, 0, 7);
    ctx.fill();
  }

  const choose = (codes) => {
    chosen = codes;
    const label = codes === null ? '' : codes.size === 1 ? `${say.part} ${parts[[...codes][0]]}` : `${count(codes.size)} ${say.parts}`;
    select('classes', label, codes === null ? null : (row) => targets.partsOf(row).some((code) => codes.has(code)), plot.clear);
  };

  const plot = makePlot(host, {
    label: `LSI by ${say.part}, from the most to the least informative: ${order.slice(0, 40).map((code) => parts[code]).join(', ')}. `
      + `Up and down select ${say.parts}.`,
    direction: 'y',
    height: () => classesHeight,
    margin: (width, ctx) => {
      const widest = order.slice(0, 200).reduce((most, code) => Math.max(most, ctx.measureText(parts[code].slice(0, 40)).width), 0);
      return { left: Math.min(width * 0.34, widest + 20), right: 12, top: 8, bottom: 48 };
    },
    draw,
    brush: (rectangle) => {
      if (rectangle === null) {
        choose(null);
        return;
      }
      const [from, to] = [rectangle.y0, rectangle.y1].map((share) => (share * tall + first) / CLASS_HEIGHT);
      choose(new Set(order.slice(Math.floor(from), Math.max(Math.floor(from) + 1, Math.ceil(to)))));
    },
    click: (x, y, area) => {
      const code = classAt(y, area);
      if (code === undefined) return;
      if (chosen?.size === 1 && chosen.has(code)) plot.clear();
      else {
        const position = place[code] * CLASS_HEIGHT - first;
        plot.setRectangle({ x0: 0, x1: 1, y0: (position + 1) / tall, y1: (position + CLASS_HEIGHT - 1) / tall });
      }
    },
    tip: (x, y, area) => {
      const code = classAt(y, area);
      if (code === undefined || y < area.top) return null;
      const [size, least, , q25, q50, q75, , most] = about.spread[code];
      return [parts[code], plural(size, 'sample'), `median ${number(q50)}, middle half ${number(q25)} to ${number(q75)}`,
        `all ${number(least)} to ${number(most)}`];
    },
  });

  if (roomy) host.after(el('p', { class: 'small' }, `Pale: how the samples of each ${say.part} are spread.`));
  if (whole > tall) {  // many classes: the canvas stays, what it shows scrolls
    const scroller = el('div', { class: 'class-scroll', 'aria-hidden': 'true' }, el('div', {}));
    scroller.style.height = `${tall}px`;
    scroller.firstChild.style.height = `${whole}px`;
    host.append(scroller);
    host.after(el('p', { class: 'small' }, `${count(order.length)} ${say.parts}; scroll in the plot, or Page Down, for more.`));
    scroller.addEventListener('scroll', () => { first = scroller.scrollTop; plot.draw(); });
    plot.canvas.addEventListener('wheel', (event) => {
      const before = scroller.scrollTop;
      scroller.scrollTop += event.deltaY;
      if (scroller.scrollTop !== before) event.preventDefault();
    }, { passive: false });
    plot.canvas.addEventListener('keydown', (event) => {
      if (event.key === 'PageDown' || event.key === 'PageUp') {
        scroller.scrollTop += (event.key === 'PageDown' ? 1 : -1) * tall * 0.8;
        event.preventDefault();
      }
    });
  }
}
