// Targets: a class for each token of a text. The file on classes tells what each of the names is for.

const targets = (() => {
  const { parts } = data.targets;
  const [counts, perplexity, part] = [unpack(data.targets.counts), unpack(data.targets.perplexity), unpack(data.targets.part)];
  const { loo_loss: loss, memorised, train_perplexity: before, label_quality: quality } = data.measures;
  const text = (row) => plural(counts[row], 'token');
  const wavers = (value) => figure(Number(value.toPrecision(3)));
  const nats = (value) => `${value.toPrecision(2).replace('-', '−')} nats a token`;
  const ends = loss.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const shade = (row) => Math.max(0, Math.min(31, Math.floor((32 * (loss[row] - ends[0])) / (ends[1] - ends[0] || 1))));

  function predictions(row) {
    const pair = (name, value) => el('div', {}, el('dt', {}, name), el('dd', {}, value));
    return el('dl', { class: 'pairs' },
      pair('perplexity without it', wavers(perplexity[row])),
      pair('with it', wavers(before[row])),
      pair('memorised', nats(memorised[row])));
  }

  return {
    doubted: new Uint8Array(n),
    text,
    suggestion: () => null,
    written: (row) => String(counts[row]),
    proposed: () => null,
    readable: (written) => written,
    face: (row) => [el('b', {}, text(row))],
    parts,
    partsOf: (row) => [part[row]],
    filters: [{ title: 'Length', all: 'all lengths', names: parts, accepts: (row, code) => part[row] === code, chip: (code) => `${parts[code]} tokens`, scope: (code) => ` of ${parts[code]} tokens` }],
    keys: { label: counts, perplexity },
    colouring: {
      groups: 32,
      group: shade,
      style: (step) => ({ colour: theme.ramp[step], shape: 'circle' }),
      legend: () => rampLegend(`loss ${ends[0].toFixed(2)}`, ends[1].toFixed(2)),
    },
    columns: () => [
      { key: 'label', title: 'tokens', help: 'how many of its tokens count', width: 88, grow: 1, numeric: true, cell: (row) => count(counts[row]) },
      { key: 'perplexity', title: 'perplexity', help: 'exp of the mean loss of its tokens under the model that never saw the text', width: 112, grow: 1, numeric: true, cell: (row) => wavers(perplexity[row]) },
    ],
    evidence: () => [
      { ...measureColumn('loo_loss', 124), cell: (row) => loss[row].toFixed(3) },
      { ...measureColumn('memorised', 124), cell: (row) => memorised[row].toPrecision(2).replace('-', '−') },
    ],
    facts: (row) => [
      ['length', text(row)],
      ['predictability', `${percent(quality[row])} (geometric mean of the probabilities of its tokens)`],
    ],
    apart: ['label_quality'],
    predictions,
    editor: null,
    setUp: () => {},
    roomy: false,
    poorBelow: 0,
    axis: {
      wide: 'leave-one-out loss: nats a token, by the model that never saw the text', narrow: 'loss, nats a token', title: 'part of the plot of losses',
      label: 'LSI against leave-one-out loss, nats a token.', ticks: null,
    },
    say: {
      label: 'length', quality: 'predictability', part: 'quarter', parts: 'quarters', relabel: '', relabelled: '',
      tip: (row) => `${text(row)}, perplexity ${wavers(perplexity[row])}`,
      doubted: 'doubted texts', agreed: 'texts that are not doubted', highest: 'Highest LSI: atypical, hard or garbled.',
      least: ['Least predictable texts', 'Largest leave-one-out loss: look here for garbled or foreign texts.'],
    },
  };
})();
