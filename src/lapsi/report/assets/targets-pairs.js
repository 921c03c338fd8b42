// Targets: the other side of a pair. The file on classes tells what each of the names is for.

const targets = (() => {
  const { parts } = data.targets;
  const [doubted, rank, part] = [unpack(data.targets.doubted), unpack(data.targets.rank), unpack(data.targets.part)];
  const { loo_loss: loss, rank_text: ofText, rank_image: ofImage, memorised, label_quality: trust } = data.measures;
  const place = (value) => `rank ${figure(Number(value.toFixed(1)))}`;
  const nats = (value) => `${value.toPrecision(3).replace('-', '−')} nats`;
  const ends = loss.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const shade = (row) => Math.max(0, Math.min(31, Math.floor((32 * (loss[row] - ends[0])) / (ends[1] - ends[0] || 1))));

  function predictions(row) {
    const pair = (name, value) => el('div', {}, el('dt', {}, name), el('dd', {}, value));
    return el('dl', { class: 'pairs' },
      pair('text by image', place(ofText[row])),
      pair('image by text', place(ofImage[row])),
      pair('loss without it', nats(loss[row])),
      pair('memorised', nats(memorised[row])));
  }

  return {
    doubted,
    text: (row) => place(rank[row]),
    suggestion: () => null,
    written: (row) => String(rank[row]),
    proposed: () => null,
    readable: (written) => written,
    face: (row) => [el('b', {}, place(rank[row]))],
    parts,
    partsOf: (row) => [part[row]],
    filters: [{ title: 'Leave-one-out rank', all: 'all ranks', names: parts, accepts: (row, code) => part[row] === code, chip: (code) => `rank ${parts[code]}`, scope: (code) => ` of rank ${parts[code]}` }],
    keys: { label: rank },
    colouring: {
      groups: 32,
      group: shade,
      style: (step) => ({ colour: theme.ramp[step], shape: 'circle' }),
      legend: () => rampLegend(`loss ${ends[0].toFixed(2)}`, ends[1].toFixed(2)),
    },
    columns: () => [
      { key: 'label', title: 'rank', help: 'place of one side where a model that never saw the pair looks for it by the other, mean of both ways', width: 88, grow: 1, numeric: true, cell: (row) => figure(Number(rank[row].toFixed(1))) },
    ],
    evidence: () => [
      { ...measureColumn('loo_loss', 124), cell: (row) => loss[row].toFixed(3) },
      { ...measureColumn('memorised', 124), cell: (row) => memorised[row].toPrecision(2).replace('-', '−') },
    ],
    facts: (row) => [
      ['leave-one-out ranks', `text ${figure(ofText[row])}, image ${figure(ofImage[row])}`],
      ['trust in the pair', `${percent(trust[row])} (probability of finding one side by the other)`],
    ],
    apart: ['label_quality'],
    predictions,
    editor: null,
    setUp: () => {},
    roomy: false,
    poorBelow: 0,
    axis: {
      wide: 'leave-one-out loss: nats, by the model that never saw the pair', narrow: 'loss, nats', title: 'part of the plot of losses',
      label: 'LSI against leave-one-out loss, nats.', ticks: null,
    },
    say: {
      label: 'rank', quality: 'trust in the pair', part: 'quarter', parts: 'quarters', relabel: '', relabelled: '',
      tip: (row) => place(rank[row]),
      doubted: 'doubted pairs', agreed: 'pairs that are not doubted', highest: 'Highest LSI: atypical, hard or mismatched.',
      least: ['Least trusted pairs', 'Largest leave-one-out loss: look here for pictures and captions that do not belong together.'],
    },
  };
})();
