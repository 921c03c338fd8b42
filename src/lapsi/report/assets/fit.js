// Each target against what the model that never saw the sample predicts, coloured by LSI.

function setUpFit() {
  const { outputs, given, predicted } = targets;
  const each = outputs.length;
  const column = (values, output) => Float64Array.from({ length: n }, (_, row) => values[row * each + output]);
  let output = 0;
  const cloud = {
    name: 'fit',
    title: 'part of the plot of predictions',
    label: 'Target against leave-one-out prediction. Arrow keys place and move a selection.',
    margin: (_, ctx) => ({ left: 18 + Math.max(...ticks().map((value) => ctx.measureText(figure(value)).width)), right: 14, top: 28, bottom: 48 }),
    groups: () => 32,
    group: (row) => colourStep(data.logLsi[row]),
    style: (step) => ({ colour: theme.ramp[step], shape: 'circle' }),
    frame,
    over: () => {},
  };
  take();
  const plot = makeCloud(cloud);

  /** Both axes have the same ends, so that right predictions lie on the diagonal. */
  function take() {
    Object.assign(cloud, { x: column(predicted, output), y: column(given, output) });
    let [low, high] = [Infinity, -Infinity];
    for (const values of [cloud.x, cloud.y]) for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const pad = 0.04 * (high - low || 1);
    cloud.ranges = [[low - pad, high + pad], [low - pad, high + pad]];
  }
  const ticks = () => linearTicks(...cloud.ranges[0], 5);

  function frame(ctx, area) {
    const [low, high] = cloud.ranges[0];
    const share = (value) => (value - low) / (high - low);
    drawLinearX(ctx, area, low, high, 'leave-one-out prediction');
    ctx.textAlign = 'right';
    ctx.textBaseline = 'middle';
    for (const value of ticks()) {
      const y = area.top + (1 - share(value)) * area.height;
      ctx.fillStyle = theme.line;
      ctx.fillRect(area.left - 4, Math.round(y), area.width + 4, 1);
      ctx.fillStyle = theme.muted;
      ctx.fillText(figure(value), area.left - 8, y);
    }
    ctx.textAlign = 'left';
    ctx.fillText('target, as given', 0, 12);
    ctx.strokeStyle = theme.ink;
    ctx.lineWidth = 1;
    ctx.setLineDash([4, 3]);
    ctx.beginPath();
    ctx.moveTo(area.left, area.top + area.height);
    ctx.lineTo(area.left + area.width, area.top);
    ctx.stroke();
    ctx.setLineDash([]);
  }

  const choice = $('fit-output');
  if (choice) {
    choice.addEventListener('change', () => {
      output = Number(choice.value);
      take();
      plot.clear();
      plot.draw();
    });
  }
  const legend = () => $('fit-legend').replaceChildren(...lsiLegend());
  plot.afterTheme = legend;
  legend();
}
