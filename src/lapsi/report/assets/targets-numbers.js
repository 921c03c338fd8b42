// Targets: one number a sample, or several. The file on classes tells what each of the names is for.

const targets = (() => {
  const { outputs, parts } = data.targets;
  const [given, predicted] = [unpack(data.targets.given), unpack(data.targets.predicted)];
  const [worst, doubted, part] = [unpack(data.targets.worst), unpack(data.targets.doubted), unpack(data.targets.part)];
  const each = outputs.length;
  const { loo_deviation: deviation, label_quality: quality } = data.measures;
  const of = (values, row) => Array.from(values.subarray(row * each, (row + 1) * each));
  const shown = (values) => values.map(figure).join(', ');
  const rough = (value) => figure(Number(value.toPrecision(4)));  // of what is estimated
  const guess = (row) => of(predicted, row).map(rough).join(', ');
  const written = (values) => values.map(String).join(', ');
  const text = (row) => shown(of(given, row));
  const suggestion = (row) => (doubted[row] ? guess(row) : null);
  const signed = (value, digits) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`;
  const off = (row) => `${signed(deviation[row], 2)} standard deviations${each > 1 ? ` (${outputs[worst[row]]})` : ''}`;
  const readable = (line) => line.split(',').map((value) => figure(Number(value))).join(', ');

  function predictions(row) {
    const pair = (name, value) => el('div', {}, el('dt', {}, name), el('dd', {}, value));
    const [wanted, guessed] = [of(given, row), of(predicted, row)];
    const residual = (place) => `${wanted[place] < guessed[place] ? '−' : '+'}${rough(Math.abs(wanted[place] - guessed[place]))}`;
    const lines = each === 1 ? [pair('prediction', rough(guessed[0])), pair('target minus prediction', residual(0))]
      : outputs.map((name, place) => pair(name, `target ${figure(wanted[place])}, prediction ${rough(guessed[place])}, off by ${residual(place)}`));
    return el('dl', { class: 'pairs' }, ...lines);
  }

  /** One field a number; what is no finite number is told and not taken. */
  function editor(row, before) {
    const problem = el('p', { class: 'problem', role: 'alert' });
    const inputs = outputs.map((name, place) => {
      const input = el('input', { type: 'text', inputmode: 'decimal', autocomplete: 'off', placeholder: String(of(given, row)[place]) });
      input.addEventListener('change', take);
      return input;
    });
    const fill = (line) => {
      const values = line === null ? [] : line.split(',').map((value) => value.trim());
      inputs.forEach((input, place) => { input.value = values[place] ?? ''; });
    };
    fill(before);
    function take() {
      const values = inputs.map((input, place) => (input.value.trim() === '' ? of(given, row)[place] : Number(input.value.trim())));
      const wrong = values.findIndex((value) => !Number.isFinite(value));
      problem.textContent = wrong < 0 ? '' : `“${inputs[wrong].value.trim()}” is not a finite number; write one such as 12.5.`;
      if (wrong >= 0 || inputs.every((input) => input.value.trim() === '')) return;
      if (written(values) === written(of(given, row))) mark(row, null);
      else mark(row, 'relabel', written(values));
    }
    const fields = inputs.map((input, place) => el('label', {}, el('span', {}, each > 1 ? `New target, ${outputs[place]}` : 'New target'), input));
    return Object.assign(el('div', { class: 'new-target' }, ...fields, problem), { fill });
  }

  const first = Float64Array.from({ length: n }, (_, row) => given[row * each]);
  const ends = first.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const shade = (row) => Math.max(0, Math.min(31, Math.floor((32 * (first[row] - ends[0])) / (ends[1] - ends[0] || 1))));
  const quarter = { title: each > 1 ? `Target ${outputs[0]}` : 'Target', all: 'all targets', names: parts, accepts: (row, code) => part[row] === code, chip: (code) => `target: ${parts[code]}`, scope: (code) => ` with a target of ${parts[code]}` };
  const largest = { title: 'Farthest off', all: 'any target', names: outputs, accepts: (row, code) => worst[row] === code, chip: (code) => `farthest off: ${outputs[code]}` };
  const suggested = Array.from({ length: n }, (_, row) => (doubted[row] ? predicted[row * each] : NaN));

  return {
    outputs,
    given,
    predicted,
    doubted,
    text,
    suggestion,
    written: (row) => written(of(given, row)),
    proposed: (row) => (doubted[row] ? written(of(predicted, row)) : null),
    readable,
    face: (row) => [el('b', {}, text(row)), doubted[row] ? el('span', { class: 'suggestion' }, ` → ${suggestion(row)}?`) : null],
    parts,
    partsOf: (row) => [part[row]],
    filters: each > 1 ? [quarter, largest] : [quarter],
    keys: { label: first, suggested, prediction: Array.from({ length: n }, (_, row) => predicted[row * each]), deviation: Array.from(deviation, Math.abs) },
    colouring: {
      groups: 32,
      group: shade,
      style: (step) => ({ colour: theme.ramp[step], shape: 'circle' }),
      legend: () => rampLegend(`${each > 1 ? outputs[0] : 'target'} ${figure(ends[0])}`, figure(ends[1])),
    },
    columns: () => {
      const widest = (show) => widthOf(Array.from({ length: n }, (_, row) => show(row)), 124, 280);
      return [
        { key: 'label', title: 'target', help: 'the given target', width: widest(text), grow: 1, numeric: true, cell: text },
        { key: 'prediction', title: 'prediction', help: 'of the model that never saw the sample', width: widest(guess), grow: 1, numeric: true, cell: guess },
        { key: 'suggested', title: 'suggested', help: 'the prediction, where the target is doubted', width: widest(guess), grow: 1, numeric: true, cell: (row) => suggestion(row) ?? '' },
      ];
    },
    evidence: () => [
      { ...measureColumn('label_quality', 156), cell: qualityCell },
      { ...measureColumn('loo_deviation', 124), title: 'deviation', key: 'deviation', cell: (row) => signed(deviation[row], 2) },
    ],
    facts: (row) => [
      ['target', text(row)],
      ['deviation', off(row)],
      ['target quality', `${percent(quality[row])} (share of right targets that lie as far off or farther)`],
      ['suggested value', suggestion(row) ?? 'none: the target is not doubted'],
    ],
    apart: ['label_quality', 'loo_deviation', ...Object.keys(data.measures).filter((name) => /^loo_(label|residual)/.test(name))],
    predictions,
    editor,
    setUp: setUpFit,
    roomy: each > 1,
    poorBelow: 0.0455,  // two standard deviations
    axis: {
      wide: 'leave-one-out deviation: distance of the target in standard deviations', narrow: 'standard deviations off', title: 'part of the plot of deviations',
      label: 'LSI against leave-one-out deviation, in standard deviations.', ticks: null,
    },
    say: {
      label: 'target', quality: 'target quality', part: 'quarter', parts: 'quarters', relabel: 'change', relabelled: 'change to',
      tip: (row) => `target ${text(row)}, prediction ${guess(row)}`,
      doubted: 'doubted targets', agreed: 'targets that are not doubted', highest: 'Highest LSI: atypical, influential or with a wrong target.',
      least: ['Least trusted targets', 'Lowest target quality: look here for wrong targets.'],
    },
  };
})();
