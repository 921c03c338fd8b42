// One sample in full, with all that is known of it, and the decision about it.

const detail = { row: -1, order: [] };

function openDetail(row, askForLabel = false) {
  const dialog = $('detail');
  if (!dialog.open) detail.order = orderAround(row);
  detail.row = row;
  fillDetail();
  if (!dialog.open) {
    dialog.showModal();
    dialog.focus();
  }
  if (askForLabel) dialog.querySelector('.new-target input').focus();
}

/** Previous and next follow the gallery that holds the focus, else the table. */
function orderAround(row) {
  const gallery = GALLERIES.find(({ list }) => list.contains(document.activeElement));
  return gallery && gallery.rows.includes(row) ? gallery.rows : view.shown;
}

function stepDetail(by) {
  const next = detail.order[detail.order.indexOf(detail.row) + by];
  if (next === undefined) return;
  detail.row = next;
  fillDetail();
}

/** A number that lapsi computed; whole ones with all their digits. */
function measured(name, row) {
  const value = data.measures[name][row];
  return about.measures[name][2] && Number.isFinite(value) ? count(value) : number(value);
}

function fillDetail() {
  const { row } = detail;
  const dialog = $('detail');
  const within = document.activeElement?.dataset?.step;
  const place = detail.order.indexOf(row);
  const step = (by, text, sign) => el('button', { type: 'button', class: 'quiet', 'data-step': by, 'aria-label': text, disabled: detail.order[place + by] === undefined, onclick: () => stepDetail(by) }, sign);
  const pair = (name, value, help) => el('div', {}, el('dt', { title: help }, name), el('dd', {}, value));
  const measures = Object.keys(data.measures).filter((name) => !targets.apart.includes(name));
  dialog.dataset.row = row;
  dialog.replaceChildren(
    el('div', { class: 'detail-head' },
      el('div', {}, el('p', { class: 'kind' }, 'id'), el('h2', { id: 'detail-title', title: data.ids[row] }, data.ids[row])),
      el('div', { class: 'steps' }, step(-1, 'Previous sample', '←'), step(1, 'Next sample', '→'),
        el('button', { type: 'button', class: 'quiet', onclick: () => dialog.close() }, 'Close'))),
    el('div', { class: 'detail-body' },
      el('div', { class: 'detail-left' }, VALUE_COLUMNS.length ? standingTable(row) : sampleFace(row), decision(row)),
      el('div', { class: 'detail-right' },
        el('dl', { class: 'pairs' },
          ...targets.facts(row).map(([name, value]) => pair(name, value)),
          pair('kind', about.quadrants.names[quadrant[row]])),
        el('h3', {}, 'What the model that never saw it says'), targets.predictions(row),
        nearestSamples(row),
        el('h3', {}, 'All measures'),
        el('dl', { class: 'pairs' }, ...measures.map((name) => pair(about.measures[name][0], measured(name, row), about.measures[name][1])),
          pair('row', count(rowNumber(row))),
          ...(data.corrupted ? [pair('corrupted', data.corrupted[row] ? 'yes' : 'no')] : []),
          ...data.extra.filter(({ key }) => !about.values.includes(key)).map((column) => pair(column.title, extraText(column, row) || '–', column.help))))));
  showMark(dialog, row);
  if (within) dialog.querySelector(`[data-step="${within}"]`)?.focus();
}

/** The samples whose features lie nearest, with their labels: what a label is judged beside. */
function nearestSamples(row) {
  if (!data.near) return null;
  const each = data.near.length / n;
  const rows = Array.from(data.near.subarray(row * each, (row + 1) * each)).filter((near) => near < n);
  if (!rows.length) return null;
  const face = (near) => pictureOf(near) ?? (data.texts ? el('span', { class: 'beginning' }, data.texts[near].slice(0, 60)) : null);
  return el('div', { class: 'nearest' }, el('h3', {}, 'Nearest samples by their features'),
    el('ul', {}, ...rows.map((near) => el('li', {}, el('button', {
      type: 'button', title: `sample ${data.ids[near]}`, class: targets.text(near) === targets.text(row) ? '' : 'other',
      onclick: () => { detail.row = near; fillDetail(); },
    }, face(near), el('b', {}, targets.text(near)), el('span', { class: 'card-id' }, `id ${ending(data.ids[near], 110)}`))))));
}

/** A name with a probability. */
function shareLine(share, name, remark) {
  const bar = el('span', { class: 'meter', 'aria-hidden': 'true' }, el('i', {}));
  bar.firstChild.style.width = `${100 * share}%`;
  return el('li', {}, el('span', { class: 'name' }, name, remark), bar, el('span', { class: 'share' }, percent(share)));
}

function decision(row) {
  const before = marks.get(row);
  const note = el('input', { type: 'text', autocomplete: 'off', placeholder: 'optional' });
  note.value = before?.note ?? '';
  note.addEventListener('change', () => {
    if (marks.has(row)) setNote(row, note.value.trim());
    else {
      mark(row, 'unsure');
      setNote(row, note.value.trim());
    }
  });
  return el('div', { class: 'decision' }, markButtons(row, true, true), el('p', { class: 'mark-text', role: 'status' }),
    targets.editor?.(row, newTarget(row)), el('label', {}, el('span', {}, 'Note'), note));
}

function setUpDetail() {
  const dialog = $('detail');
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('keydown', (event) => {
    if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'ArrowRight' || event.key === 'ArrowDown') stepDetail(1);
    else if (event.key === 'ArrowLeft' || event.key === 'ArrowUp') stepDetail(-1);
    else return;
    event.preventDefault();
  });
}
