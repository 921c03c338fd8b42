// Targets: classes, one a sample. The files on labels and on numbers define the same names.

const targets = (() => {
  const { names } = data.targets;
  const [given, predicted] = [unpack(data.targets.given), unpack(data.targets.predicted)];
  const top = { codes: unpack(data.targets.top.codes), probability: unpack(data.targets.top.probability) };
  const doubted = unpack(data.targets.doubted);
  const differs = (row) => given[row] !== predicted[row];
  const text = (row) => names[given[row]];
  const suggestion = (row) => (differs(row) ? names[predicted[row]] : null);

  function predictions(row) {
    const each = top.codes.length / n;
    return el('ul', { class: 'predictions' }, ...Array.from({ length: each }, (_, place) => {
      const code = top.codes[row * each + place];
      return shareLine(top.probability[row * each + place], names[code], code === given[row] ? ' (given)' : '');
    }));
  }

  function editor(row, before) {
    const label = el('input', { type: 'text', list: 'class-names', autocomplete: 'off', placeholder: suggestion(row) ?? 'choose or write' });
    const fill = (line) => { label.value = line ?? ''; };
    fill(before);
    label.addEventListener('change', () => {
      const value = label.value.trim();
      if (value && value !== text(row)) mark(row, 'relabel', value);
    });
    return Object.assign(el('label', { class: 'new-target' }, el('span', {}, 'New label'), label), { fill });
  }

  return {
    doubted,
    text,  // as it is shown
    suggestion,  // the same of what is suggested, null for nothing
    written: text,  // as the file of the review has it
    proposed: suggestion,
    readable: (written) => written,
    face: (row) => [el('b', {}, text(row)), doubted[row] ? el('span', { class: 'suggestion' }, ` → ${suggestion(row)}?`) : null],
    parts: names,  // of the chart
    partsOf: (row) => [given[row]],
    filters: [{ title: 'Label', all: 'all labels', names, accepts: (row, code) => given[row] === code, chip: (code) => `label: ${names[code]}`, scope: (code) => ` with label ${names[code]}` }],
    keys: { label: given, suggested: Array.from(predicted, (code, row) => (differs(row) ? code : NaN)) },
    colouring: coloursOf(names, (row) => given[row]),
    columns: () => {
      const width = widthOf(names, 104, 220);
      return [
        { key: 'label', title: 'label', help: 'the given label', width, grow: 1, cell: text },
        { key: 'suggested', title: 'suggested', help: 'what the model that never saw the sample says, where it differs', width: Math.max(116, width), grow: 1, cell: (row) => suggestion(row) ?? '' },
      ];
    },
    evidence: () => [
      { ...measureColumn('label_quality', 152), cell: qualityCell },
      { ...measureColumn('loo_margin', 172), cell: (row) => data.measures.loo_margin[row].toFixed(2).replace('-', '−') },
    ],
    facts: (row) => [
      ['given label', text(row)],
      ['suggested label', suggestion(row) ?? 'none: the model agrees'],
      ['label quality', `${percent(data.measures.label_quality[row])} (leave-one-out probability of the given label)`],
    ],
    apart: ['label_quality', 'loo_probability'],
    predictions,
    editor,
    setUp: () => $('class-names').append(...names.map((name) => el('option', { value: name }))),
    roomy: false,  // whether a card may need several lines for them
    poorBelow: data.targets.line,  // quality that deserves a look
    axis: {
      wide: 'label quality: leave-one-out probability of the given label', narrow: 'label quality', title: 'part of the quality plot',
      label: 'LSI against label quality.', ticks: [0, 0.25, 0.5, 0.75, 1],
    },
    say: {
      label: 'label', quality: 'label quality', part: 'class', parts: 'classes', relabel: 'relabel', relabelled: 'relabel as',
      tip: (row) => `label ${text(row)}${differs(row) ? `, model says ${suggestion(row)}` : ''}`,
      doubted: 'doubted labels', agreed: 'labels that are not doubted', highest: 'Highest LSI: atypical, hard or mislabelled.',
      least: ['Least trusted labels', 'Lowest label quality: look here for wrong labels.'],
    },
  };
})();
