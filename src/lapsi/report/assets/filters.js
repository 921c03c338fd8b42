// Which samples are let through: selections in plots, search, targets and kind, all narrowing each other.

const selections = new Map();  // plot → { label, mask, clear }
const query = { search: '', chosen: targets.filters.map(() => -1), kind: 'all', check: -1 };
const FIELDS = ['class-filter', 'second-filter'];  // of `query.chosen`
const sorting = { key: 'lsi', descending: true };
const view = { shown: new Uint32Array(0), mask: new Uint8Array(n), order: byLsi.slice().reverse(), filtered: false };
const followers = [];  // called after every change of the view
let planted = plantedRows !== null;
let haystack = null;

function searchable() {
  haystack ??= Array.from({ length: n }, (_, row) => {
    const parts = [data.ids[row], targets.text(row), targets.suggestion(row) ?? '', data.texts ? data.texts[row] : ''];
    for (const column of data.extra) if (column.kind !== 'number') parts.push(extraText(column, row));
    return parts.join('\n').toLowerCase();
  });
  return haystack;
}

const KINDS = {
  all: ['all samples', () => true],
  doubted: [targets.say.doubted, (row) => targets.doubted[row] === 1],
  agreed: [targets.say.agreed, (row) => targets.doubted[row] === 0],
  marked: ['marked', (row) => marks.has(row)],
  unmarked: ['not marked yet', (row) => !marks.has(row)],
};

function refilter() {
  const { mask } = view;
  const words = query.search.toLowerCase().split(/\s+/).filter(Boolean);
  const text = words.length ? searchable() : null;
  const masks = [...selections.values()].map((selection) => selection.mask);
  const accepts = KINDS[query.kind][1];
  for (let row = 0; row < n; row++) {
    let inside = query.chosen.every((code, place) => code < 0 || targets.filters[place].accepts(row, code));
    for (let each = 0; inside && each < masks.length; each++) inside = masks[each][row] === 1;
    if (inside && query.kind !== 'all') inside = accepts(row);
    if (inside && query.check >= 0) inside = data.checks[query.check].mask[row] === 1;
    for (let each = 0; inside && each < words.length; each++) inside = text[row].includes(words[each]);
    mask[row] = inside ? 1 : 0;
  }
  view.shown = view.order.filter((row) => mask[row]);
  view.filtered = view.shown.length < n;
  tellView();
  for (const follow of followers) follow();
}
const refilterSoon = onFrame(refilter);

function resort() {
  view.order = sortedBy(sortKeys(sorting.key), sorting.descending);
  view.shown = view.order.filter((row) => view.mask[row]);
}

function sortKeys(key) {
  if (key in data.measures) return data.measures[key];
  if (key in targets.keys) return targets.keys[key];
  if (key === 'mark') return Array.from({ length: n }, (_, row) => (marks.has(row) ? ACTIONS.indexOf(marks.get(row).action) : NaN));
  if (key === 'corrupted') return data.corrupted;
  if (key === 'checks') return Array.from({ length: n }, (_, row) => data.checks.reduce((sum, { mask }) => sum + mask[row], 0) || NaN);
  if (key === 'text') return data.texts;
  if (key === 'id') return data.ids.every((id) => id !== '' && Number.isFinite(Number(id))) ? data.ids.map(Number) : data.ids;
  const column = data.extra.find((each) => `extra:${each.key}` === key);
  return column.kind === 'strings' ? column.values
    : column.kind === 'names' ? Array.from(column.data, (code) => (column.names[code] === '' ? NaN : code)) : column.data;
}

/** Narrows the view by a plot; `accepts` is null to lift the selection. */
function select(plot, label, accepts, clear) {
  if (accepts === null) selections.delete(plot);
  else selections.set(plot, { label, mask: Uint8Array.from({ length: n }, (_, row) => (accepts(row) ? 1 : 0)), clear });
  refilterSoon();
}

function clearAll() {
  for (const { clear } of [...selections.values()]) clear();
  selections.clear();
  Object.assign(query, { search: '', chosen: targets.filters.map(() => -1), kind: 'all', check: -1 });
  $('search').value = '';
  for (const field of FIELDS) $(field).value = '-1';
  $('kind-filter').value = 'all';
  $('check-filter').value = '-1';
  refilterSoon();
}

function tellView() {
  const text = view.filtered ? `${count(view.shown.length)} of ${plural(n, 'sample')} selected` : `All ${plural(n, 'sample')}`;
  $('count').textContent = text;
  $('selected').textContent = view.filtered ? text : '';
  $('show-selected').hidden = !view.filtered;
  const chip = (label, clear) => el('button', { type: 'button', class: 'chip', title: `Lift: ${label}`, onclick: clear },
    el('span', {}, label), el('span', { 'aria-hidden': 'true' }, '×'));
  const chips = [...selections.values()].map(({ label, clear }) => chip(label, clear));
  if (query.search) chips.push(chip(`search: ${query.search}`, () => { query.search = $('search').value = ''; refilterSoon(); }));
  query.chosen.forEach((code, place) => {
    if (code >= 0) chips.push(chip(targets.filters[place].chip(code), () => { query.chosen[place] = -1; $(FIELDS[place]).value = '-1'; refilterSoon(); }));
  });
  if (query.kind !== 'all') {
    chips.push(chip(KINDS[query.kind][0], () => { query.kind = $('kind-filter').value = 'all'; refilterSoon(); }));
  }
  if (query.check >= 0) {
    chips.push(chip(`check: ${data.checks[query.check].title}`, () => { query.check = -1; $('check-filter').value = '-1'; refilterSoon(); }));
  }
  if (chips.length) chips.push(el('button', { type: 'button', class: 'chip plain', onclick: clearAll }, 'Clear all'));
  $('chips').replaceChildren(...chips);
}

function setUpFilters() {
  if (data.corrupted) {
    KINDS.corrupted = ['corrupted samples', (row) => data.corrupted[row] === 1];
  }
  if (data.differs) KINDS.differs = ['differs from the reference', (row) => data.differs[row] === 1];
  if (plantedRows) {
    $('planted-field').hidden = false;
    $('planted-field').lastElementChild.textContent = data.corrupted ? 'Highlight corrupted' : 'Highlight what differs from the reference';
    $('planted').addEventListener('change', (event) => { planted = event.target.checked; redrawPlots(); });
  }
  const option = (value, text) => el('option', { value }, text);
  targets.filters.forEach(({ title, all, names }, place) => {
    const field = $(FIELDS[place]);
    field.parentElement.hidden = false;
    field.previousElementSibling.textContent = title;
    field.append(option(-1, all), ...names.map((name, code) => option(code, name)));
    field.addEventListener('change', () => { query.chosen[place] = Number(field.value); refilterSoon(); });
  });
  if (data.checks.length) {
    const sizes = data.checks.map(({ mask }) => mask.reduce((sum, value) => sum + value, 0));
    $('check-filter').append(option(-1, 'all samples'), ...data.checks.map(({ title }, place) => option(place, `${title} (${count(sizes[place])})`)));
    $('check-filter').parentElement.hidden = false;
    $('check-filter').addEventListener('change', (event) => { query.check = Number(event.target.value); refilterSoon(); });
  }
  $('kind-filter').append(...Object.entries(KINDS).map(([kind, [text]]) => option(kind, text)));
  $('search').addEventListener('input', afterPause(() => { query.search = $('search').value.trim(); refilterSoon(); }, 120));
  $('kind-filter').addEventListener('change', (event) => { query.kind = event.target.value; refilterSoon(); });
}
