// What a person decided about samples. Kept in the browser under the hash of the data and the time of the run.

const ACTIONS = targets.editor ? ['keep', 'relabel', 'remove', 'unsure'] : ['keep', 'remove', 'unsure'];
const SIGNS = { keep: '✓', relabel: '⇄', remove: '✕', unsure: '?' };
const CSV_COLUMNS = ['id', 'row', 'label', 'action', 'new_label', 'note', 'run'];
const STORE = `lapsi-review:${about.key}`;
const marks = new Map();  // row → { action, new_label, note }
let canStore = true;

function loadMarks() {
  marks.clear();
  try {
    const places = data.rows ? new Map(Array.from(data.rows, (row, place) => [row, place])) : null;
    for (const [row, action, newLabel, note] of JSON.parse(localStorage.getItem(STORE) ?? '[]')) {
      const place = places ? places.get(row) : row;
      if (place !== undefined && place < n) marks.set(place, { action, new_label: newLabel, note });
    }
  } catch (error) {
    canStore = false;
    console.warn('The review cannot be kept in this browser.', error);
  }
}

function storeMarks() {
  try {
    const records = [...marks].map(([row, mark]) => [rowNumber(row), mark.action, mark.new_label, mark.note]);
    localStorage.setItem(STORE, JSON.stringify(records));
    canStore = true;
  } catch (error) {
    canStore = false;
    console.warn('The review cannot be kept in this browser.', error);
  }
}

/** Decides about a sample; `null` takes the decision back. Relabelling without a suggestion asks for the new target first. */
function mark(row, action, newLabel = null) {
  if (action === null) marks.delete(row);
  else if (action === 'relabel') {
    const before = marks.get(row);
    const label = newLabel ?? newTarget(row) ?? targets.proposed(row);
    if (label === null || label === targets.written(row)) {
      openDetail(row, true);
      return;
    }
    marks.set(row, { action, new_label: label, note: before?.note ?? '' });
  } else marks.set(row, { action, new_label: '', note: marks.get(row)?.note ?? '' });
  afterMark(row);
}

function setNote(row, note) {
  marks.set(row, { ...marks.get(row), note });
  storeMarks();
}

function afterMark(row) {
  storeMarks();
  tellProgress();
  for (const node of document.querySelectorAll(`[data-row="${row}"]`)) showMark(node, row);
}

/** What a sample is relabelled to, as the file has it; null for nothing. */
const newTarget = (row) => (marks.get(row)?.action === 'relabel' ? marks.get(row).new_label : null);

function markText(row) {
  const decision = marks.get(row);
  return !decision ? '' : decision.action === 'relabel' ? `${targets.say.relabelled} ${targets.readable(decision.new_label)}` : decision.action;
}

/** What a person reads of an action; files name it as they always do. */
const calledAction = (action) => (action === 'relabel' ? targets.say.relabel : action);

/** The buttons of a sample. Keys do the same, so they are left out of the tab order where `tabbable` is false. */
function markButtons(row, tabbable, withWords = false) {
  const button = (action, place) => el('button', {
    type: 'button', class: 'mark', 'data-action': action, tabindex: tabbable ? 0 : -1, title: `${calledAction(action)} (key ${place + 1})`,
    'aria-label': `${calledAction(action)} sample ${data.ids[row]}`,
    onclick: (event) => {
      event.stopPropagation();
      mark(row, marks.get(row)?.action === action ? null : action);
    },
  }, el('span', { 'aria-hidden': 'true' }, SIGNS[action]), withWords ? el('span', { class: 'word' }, calledAction(action)) : null);
  return el('div', { class: 'marks', role: 'group', 'aria-label': 'Review' }, ...ACTIONS.map(button));
}

function showMark(node, row) {
  const action = marks.get(row)?.action;
  if (action) node.dataset.mark = action;
  else delete node.dataset.mark;
  for (const button of node.querySelectorAll('.mark')) {
    button.setAttribute('aria-pressed', String(button.dataset.action === action));
  }
  const text = node.querySelector('.mark-text');
  if (text) text.textContent = markText(row);
  node.querySelector('.new-target')?.fill(newTarget(row));
}

function tellProgress() {
  const counts = Object.fromEntries(ACTIONS.map((action) => [action, 0]));
  let looked = 0;
  for (const [row, { action }] of marks) {
    counts[action] += 1;
    looked += targets.doubted[row];
  }
  const doubted = targets.doubted.reduce((sum, value) => sum + value, 0);
  const parts = ACTIONS.filter((action) => counts[action]).map((action) => `${count(counts[action])} ${calledAction(action)}`);
  const [done, all, what] = doubted ? [looked, doubted, targets.say.doubted] : [marks.size, n, 'samples'];
  $('progress').textContent = [
    `${plural(marks.size, 'sample')} reviewed${parts.length ? `: ${parts.join(', ')}` : ''}`,
    `${count(done)} of ${count(all)} ${what}`,
    ...(canStore ? [] : ['not kept in this browser, download it before you leave']),
  ].join(' · ');
  Object.assign($('bar'), { max: all, value: done });
  $('download').disabled = $('reset').disabled = marks.size === 0;
}

const csvCell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

function reviewCsv() {
  const lines = [...marks.keys()].sort((a, b) => a - b).map((row) => {
    const { action, new_label: newLabel, note } = marks.get(row);
    return [data.ids[row], String(rowNumber(row)), targets.written(row), action, newLabel, note, about.hash].map(csvCell).join(',');
  });
  return [CSV_COLUMNS.join(','), ...lines, ''].join('\r\n');
}

function downloadReview() {
  const address = URL.createObjectURL(new Blob([reviewCsv()], { type: 'text/csv;charset=utf-8' }));
  const link = el('a', { href: address, download: `review-${about.hash.slice(0, 8)}.csv` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function setUpReview() {
  loadMarks();
  tellProgress();
  $('download').addEventListener('click', downloadReview);
  $('reset').addEventListener('click', () => {
    if (!confirm(`Take back all ${count(marks.size)} decisions?`)) return;
    marks.clear();
    afterForeignChange();
    storeMarks();
  });
  addEventListener('storage', (event) => {  // the same report in another tab
    if (event.key !== STORE) return;
    loadMarks();
    afterForeignChange();
  });
}

function afterForeignChange() {
  tellProgress();
  for (const node of document.querySelectorAll('[data-row]')) showMark(node, Number(node.dataset.row));
}
