// Targets: several labels a sample, each there or not. The file on classes tells what each of the names is for.

const SEPARATOR = '|';  // as in files
const MOST_SETS = 31;  // that the map tells apart

const targets = (() => {
  const { names } = data.targets;
  const codeOf = new Map(names.map((name, code) => [name, code]));
  const cut = (packed) => {
    const [codes, ends] = [unpack(packed.codes), unpack(packed.ends)];
    return Array.from(ends, (end, row) => Array.from(codes.subarray(row ? ends[row - 1] : 0, end)));
  };
  const [given, found] = [cut(data.targets.given), cut(data.targets.found)];
  const listed = { codes: unpack(data.targets.listed.codes), probability: unpack(data.targets.listed.probability) };
  const without = (codes, others) => codes.filter((code) => !others.includes(code));
  const differing = given.map((codes, row) => [...without(codes, found[row]), ...without(found[row], codes)]);
  const doubted = Uint8Array.from(differing, (codes) => (codes.length ? 1 : 0));
  const shown = (codes) => (codes.length ? codes.map((code) => names[code]).join(' · ') : '(none)');
  const written = (codes) => codes.map((code) => names[code]).join(SEPARATOR);
  const readable = (text) => (text === '' ? '(none)' : text.split(SEPARATOR).join(' · '));
  const text = (row) => shown(given[row]);
  const suggestion = (row) => (doubted[row] ? shown(found[row]) : null);

  /** Labels as given, with a sign at those that the model would take away or add. */
  function face(row) {
    const tag = (code, kind, sign) => el('span', { class: `tag ${kind}` }, `${sign}${names[code]}`);
    const tags = given[row].map((code) => (found[row].includes(code) ? tag(code, '', '') : tag(code, 'doubt', '− ')));
    const added = without(found[row], given[row]).map((code) => tag(code, 'doubt', '+ '));
    const all = [...(tags.length ? tags : [el('span', { class: 'tag none-given' }, 'none')]), ...added];
    return all.flatMap((node) => [node, ' ']);
  }

  function predictions(row) {
    const each = listed.codes.length / n;
    const lines = Array.from({ length: each }, (_, place) => {
      const code = listed.codes[row * each + place];
      const state = given[row].includes(code) ? ' (given)' : ' (not given)';
      const line = shareLine(listed.probability[row * each + place], names[code], state);
      if (differing[row].includes(code)) line.classList.add('doubt');
      return line;
    });
    const more = names.length - each;
    return el('div', {}, el('ul', { class: 'predictions' }, ...lines),
      el('p', { class: 'small' }, `Probability that each label is there.${more > 0 ? ` ${plural(more, 'less likely label')} left out.` : ''}`));
  }

  function editor(row, before) {
    const inputs = names.map(() => el('input', { type: 'checkbox' }));
    const chosen = () => names.map((_, code) => code).filter((code) => inputs[code].checked);
    const fill = (line) => {
      const codes = line === null ? given[row] : line.split(SEPARATOR).map((name) => codeOf.get(name));
      inputs.forEach((input, code) => { input.checked = codes.includes(code); });
    };
    const take = () => {
      const next = written(chosen());
      if (next === written(given[row])) mark(row, null);
      else mark(row, 'relabel', next);
    };
    fill(before);
    for (const input of inputs) input.addEventListener('change', take);
    const boxes = inputs.map((input, code) => el('label', {}, input, el('span', {}, names[code])));
    return Object.assign(el('fieldset', { class: 'new-target' }, el('legend', {}, 'New labels'), el('div', { class: 'boxes' }, ...boxes)), { fill });
  }

  const sizes = new Map();
  for (let row = 0; row < n; row++) sizes.set(text(row), (sizes.get(text(row)) ?? 0) + 1);
  const sets = [...sizes.keys()].sort((a, b) => sizes.get(b) - sizes.get(a)).slice(0, MOST_SETS);
  const setNames = sizes.size > sets.length ? [...sets, 'others'] : sets;
  const setOf = new Map(sets.map((name, code) => [name, code]));

  return {
    doubted,
    text,
    suggestion,
    written: (row) => written(given[row]),
    proposed: (row) => (doubted[row] ? written(found[row]) : null),
    readable,
    face,
    parts: names,
    partsOf: (row) => given[row],
    filters: [
      { title: 'Label', all: 'all labels', names, accepts: (row, code) => given[row].includes(code), chip: (code) => `label: ${names[code]}`, scope: (code) => ` with label ${names[code]}` },
      { title: 'Doubted label', all: 'any or none', names, accepts: (row, code) => differing[row].includes(code), chip: (code) => `doubted: ${names[code]}` },
    ],
    keys: { label: Array.from({ length: n }, (_, row) => text(row)), suggested: Array.from({ length: n }, (_, row) => suggestion(row) ?? '') },
    colouring: coloursOf(setNames, (row) => setOf.get(text(row)) ?? sets.length),
    columns: () => {
      const width = widthOf(given.map(shown), 120, 260);
      return [
        { key: 'label', title: 'labels', help: 'the given labels', width, grow: 1, cell: text },
        { key: 'suggested', title: 'suggested', help: 'what the model that never saw the sample says, where it differs', width: Math.max(116, width), grow: 1, cell: (row) => suggestion(row) ?? '' },
      ];
    },
    evidence: () => [
      { ...measureColumn('label_quality', 152), cell: qualityCell },
      { ...measureColumn('doubted_labels', 152), cell: (row) => count(data.measures.doubted_labels[row]) },
    ],
    facts: (row) => [
      ['given labels', text(row)],
      ['suggested labels', suggestion(row) ?? 'the same: the model agrees'],
      ['label quality', `${percent(data.measures.label_quality[row])} (what is given of the least trusted label)`],
    ],
    apart: ['label_quality'],
    predictions,
    editor,
    setUp: () => {},
    roomy: true,
    poorBelow: 0.5,
    axis: {
      wide: 'label quality: leave-one-out probability of the least trusted label', narrow: 'quality of the least trusted label', title: 'part of the plot of quality',
      label: 'LSI against the quality of the least trusted label.', ticks: [0, 0.25, 0.5, 0.75, 1],
    },
    say: {
      label: 'labels', quality: 'label quality', part: 'label', parts: 'labels', relabel: 'relabel', relabelled: 'relabel as',
      tip: (row) => `labels ${text(row)}${doubted[row] ? `, model says ${suggestion(row)}` : ''}`,
      doubted: 'samples with doubted labels', agreed: 'labels the model agrees with', highest: 'Highest LSI: atypical, hard or mislabelled.',
      least: ['Least trusted labels', 'Lowest label quality: look here for wrong labels.'],
    },
  };
})();
