// How many samples have which LSI; the ends are marked.

const END_SHARE = 0.01;

function setUpHistogram() {
  const [low, high] = LSI_RANGE;
  const across = (value) => (value - low) / (high - low);
  const ends = [quantileOfLsi(END_SHARE), quantileOfLsi(1 - END_SHARE)];
  const median = Math.log10(Math.max(about.median, data.floor));
  const noise = about.noise > 0 ? across(Math.log10(about.noise)) : 0;  // share of the axis below which LSI says nothing
  const atFloor = data.measures.lsi.reduce((zeros, value) => zeros + (value > 0 ? 0 : 1), 0);
  let bins = 0;
  let place = new Uint16Array(n);
  let all = null;

  function rebin(width) {
    const wanted = Math.max(16, Math.min(80, Math.floor(width / 9)));
    if (wanted === bins) return;
    bins = wanted;
    place = Uint16Array.from(data.logLsi, (value) => Math.min(bins - 1, Math.floor(across(value) * bins)));
    all = countBins(() => true);
  }
  const countBins = (accepts) => {
    const counts = new Uint32Array(bins);
    for (let row = 0; row < n; row++) if (accepts(row)) counts[place[row]] += 1;
    return counts;
  };

  function draw(ctx, area) {
    rebin(area.width);
    const shown = view.filtered ? countBins((row) => view.mask[row]) : all;
    const most = all.reduce((a, b) => Math.max(a, b), 1);
    const step = niceStep(most / 3);
    const top = Math.ceil(most / step) * step;
    const y = (value) => area.top + area.height * (1 - value / top);
    drawNoise(ctx, area);
    drawLogX(ctx, area, 'LSI in nats, logarithmic', 13);
    ctx.textAlign = 'right';
    ctx.textBaseline = 'middle';
    for (let value = 0; value <= top; value += step) {
      ctx.fillStyle = theme.line;
      ctx.fillRect(area.left, Math.round(y(value)), area.width, 1);
      ctx.fillStyle = theme.muted;
      ctx.fillText(count(value), area.left - 8, y(value));
    }
    const width = area.width / bins;
    const bars = (counts, colour, inset) => {
      for (let bin = 0; bin < bins; bin++) {
        if (!counts[bin]) continue;
        ctx.fillStyle = colour(bin);
        const height = Math.max(2, (area.height * counts[bin]) / top);
        ctx.fillRect(area.left + bin * width + inset, area.top + area.height - height, Math.max(1, width - 1 - 2 * inset), height);
      }
    };
    const colour = (bin) => {
      const middle = low + ((bin + 0.5) / bins) * (high - low);
      return middle <= ends[0] ? theme.low : middle >= ends[1] ? theme.high : theme.bar;
    };
    if (view.filtered) bars(all, () => theme.faint, 0);
    bars(shown, colour, 0);
    if (planted) bars(countBins((row) => plantedRows[row] && view.mask[row]), () => theme.planted, width / 5);
    drawNames(ctx, area);
  }

  /** Where LSI says nothing: training again with nothing removed gives as much. */
  function drawNoise(ctx, area) {
    if (noise <= 0) return;
    const width = area.width * Math.min(1, noise);
    ctx.fillStyle = theme.muted;
    ctx.globalAlpha = 0.16;
    ctx.fillRect(area.left, area.top, width, area.height);
    ctx.globalAlpha = 1;
    ctx.textBaseline = 'top';
    const room = ctx.measureText('noise floor').width + 8;
    ctx.textAlign = width < room ? 'left' : 'right';
    ctx.fillText('noise floor', area.left + width + (width < room ? 4 : -4), area.top + 4);
  }

  function drawNames(ctx, area) {
    const [first, last] = [byLsi[0], byLsi[n - 1]];
    const names = { low: `lowest: id ${data.ids[first]}`, high: `highest: id ${data.ids[last]}` };
    const fit = ctx.measureText(names.low).width + ctx.measureText(names.high).width < area.width - 10;
    const half = area.width / 2 - 8;
    const x = (value) => area.left + across(value) * area.width;
    ctx.textBaseline = 'middle';
    for (const [row, colour, align, edge] of [[first, 'low', 'left', area.left], [last, 'high', 'right', area.left + area.width]]) {
      ctx.fillStyle = theme[`${colour}-text`];
      ctx.textAlign = align;
      ctx.fillText(fit ? names[colour] : endName(ctx, row === first ? 'lowest: id ' : 'highest: id ', data.ids[row], half), edge, 12);
      ctx.fillStyle = theme[colour];
      triangle(ctx, x(data.logLsi[row]), area.top + area.height + 1);
    }
    const text = `median ${number(about.median)}`;
    const size = ctx.measureText(text).width / 2;
    ctx.fillStyle = theme.ink;
    ctx.textAlign = 'center';
    ctx.fillText(text, Math.max(area.left + size, Math.min(area.left + area.width - size, x(median))), 32);
    ctx.fillRect(Math.round(x(median)), 42, 1, area.top + area.height - 42);
  }

  const binAt = (x, area) => Math.max(0, Math.min(bins - 1, Math.floor(((x - area.left) / area.width) * bins)));
  const edge = (bin) => 10 ** (low + (bin / bins) * (high - low));

  const plot = makePlot($('histogram'), {
    label: `Histogram of LSI of ${plural(n, 'sample')}, from ${number(data.measures.lsi[byLsi[0]])} to `
      + `${number(data.measures.lsi[byLsi[n - 1]])} nats, median ${number(about.median)}.`
      + `${atFloor ? ` ${count(atFloor)} with LSI 0 stand at the left edge.` : ''}`
      + `${noise > 0 ? ` Noise floor ${number(about.noise)} nats: LSI below it says nothing.` : ''} Arrow keys select a range.`,
    direction: 'x',
    height: (width) => (width < 360 ? 280 : Math.max(320, classesHeight)),
    margin: (_, ctx) => ({ left: 16 + ctx.measureText(count(n)).width, right: 12, top: 52, bottom: 52 }),
    draw,
    brush: (rectangle) => {
      if (rectangle === null) {
        select('histogram', '', null);
        return;
      }
      const [from, to] = [rectangle.x0, rectangle.x1].map((share) => low + share * (high - low));
      select('histogram', `LSI ${number(10 ** from)} to ${number(10 ** to)}`, (row) => data.logLsi[row] >= from && data.logLsi[row] <= to, plot.clear);
    },
    click: (x, y, area) => {
      const bin = binAt(x, area);
      plot.setRectangle({ x0: bin / bins, x1: (bin + 1) / bins, y0: 0, y1: 1 });
    },
    tip: (x, y, area) => {
      const bin = binAt(x, area);
      const range = `LSI ${number(edge(bin))} to ${number(edge(bin + 1))}`;
      return [plural(all[bin], 'sample'), range, ...(bin + 1 <= noise * bins ? ['below the noise floor'] : [])];
    },
  });
}

/** What tells long ids apart mostly stands at their end. */
function endName(ctx, what, id, width) {
  const room = width - ctx.measureText(what).width;
  const reversed = (text) => [...text].reverse().join('');
  const fitted = reversed(fitText(ctx, reversed(id), room));
  return what + fitted;
}

function triangle(ctx, x, y) {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x - 5, y + 7);
  ctx.lineTo(x + 5, y + 7);
  ctx.fill();
}

function niceStep(rough) {
  const size = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  return [1, 2, 5, 10].map((factor) => factor * size).find((step) => step >= rough) ?? 10 * size;
}
