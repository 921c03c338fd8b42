// All samples in a table of which only the visible rows exist.

const ROW_HEIGHT = 48;
const BUFFER = 6;  // rows beyond both edges

const FINGERS = matchMedia('(pointer: coarse), (max-width: 640px)').matches;  // as the style has it
const BEGINNING = 400;  // letters of a text
const LETTER = 8.7;  // pixels of an average one
const PATH_WIDTH = 260;

/** Pixels that the longest of some names takes, within bounds. */
const widthOf = (names, least, most) => {
  const longest = names.reduce((length, name) => Math.max(length, name.length), 0);
  return Math.round(Math.max(least, Math.min(most, 24 + LETTER * longest)));
};

/** Ids and paths differ mostly at their ends, so these are kept. */
const ending = (text, width) => {
  const room = Math.floor((width - 24) / LETTER);
  return text.length > room ? `…${text.slice(1 - room)}` : text;
};

/** Of a measure; width in pixels, grow is the share of what is left over. */
const measureColumn = (key, width) => ({ key, title: about.measures[key][0], help: about.measures[key][1], width, grow: 0, numeric: true });

/** A column of the run that has no place of its own. */
function extraColumn(column) {
  const common = { key: `extra:${column.key}`, title: column.title, help: column.help, numeric: column.kind === 'number', grow: 1 };
  const least = Math.max(112, 48 + LETTER * column.title.length);
  if (column.key === 'path') return { ...common, width: PATH_WIDTH, cell: (row) => ending(extraText(column, row), PATH_WIDTH), full: (row) => extraText(column, row) };
  return { ...common, width: column.kind === 'number' ? least : widthOf(column.names ?? column.values, least, 220), cell: (row) => extraText(column, row) };
}

/** The first columns stay where they are while the others scroll, where the window has room. */
const stay = (node, { left }) => {
  if (left === undefined) return node;
  node.classList.add('stays');
  node.style.left = `${left}px`;
  return node;
};

const TABLE_COLUMNS = (() => {
  const idWidth = widthOf(data.ids, 104, 260);
  const columns = [{ key: 'mark', title: 'review', help: 'your decision', width: FINGERS ? 20 + 44 * ACTIONS.length : 140, grow: 0 }];
  if (pictures.kind !== 'none') columns.push({ key: null, title: '', width: 56, grow: 0, cell: (row) => pictureOf(row) });
  columns.push({ key: 'id', title: 'id', help: 'identifier of the sample', width: idWidth, grow: 1, cell: (row) => ending(data.ids[row], idWidth), full: (row) => data.ids[row] });
  columns.reduce((left, column) => { column.left = left; return left + column.width; }, 0);  // these stay in sight
  columns.push(
    ...targets.columns(),
    ...(data.texts ? [{ key: 'text', title: 'text', help: 'its beginning', width: 280, grow: 3, cell: (row) => data.texts[row].slice(0, BEGINNING) }] : []),
    { ...measureColumn('lsi', 124), cell: (row) => number(data.measures.lsi[row]) },
    ...targets.evidence().slice(0, 1),
    ...data.extra.filter(({ kept }) => kept).map(extraColumn),
    ...targets.evidence().slice(1),
    { ...measureColumn('rank', 88), cell: (row) => count(data.measures.rank[row]) },
  );
  if (data.corrupted) {
    columns.push({ key: 'corrupted', title: 'corrupted', help: 'whether the sample was changed on purpose', width: 120, grow: 0, cell: (row) => (data.corrupted[row] ? el('span', { class: 'badge' }, 'corrupted') : '') });
  }
  if (data.checks.length) {
    const badges = (row) => data.checks.filter(({ mask }) => mask[row]).map(({ title }) => title).join(', ');
    columns.push({ key: 'checks', title: 'checks', help: 'checks that found the sample', width: 200, grow: 1, cell: badges });
  }
  return [...columns, ...data.extra.filter(({ check, kept }) => !check && !kept).map(extraColumn)];
})();

function qualityCell(row) {
  const value = data.measures.label_quality[row];
  const meter = el('span', { class: value < targets.poorBelow ? 'meter poor' : 'meter', 'aria-hidden': 'true' }, el('i', {}));
  meter.firstChild.style.width = `${100 * value}%`;
  return el('span', { class: 'quality' }, meter, el('span', {}, percent(value)));
}

const table = { viewport: null, body: null, header: null, active: -1, first: -1, last: -1 };

function setUpTable() {
  const header = el('div', { class: 'row head', role: 'row' }, ...TABLE_COLUMNS.map(headCell));
  const body = el('div', { class: 'body', role: 'rowgroup' });
  const viewport = el('div', {
    class: 'viewport', role: 'grid', tabindex: 0, 'aria-label': 'All samples. Arrow keys move, 1 to 4 mark, Enter opens.',
    'aria-colcount': TABLE_COLUMNS.length,
  }, el('div', { role: 'rowgroup', class: 'heads' }, header), body);
  const none = el('p', { class: 'none', hidden: true }, 'No sample passes these filters.');
  $('table').append(viewport, none);
  $('table').style.setProperty('--columns', TABLE_COLUMNS.map(({ width, grow }) => (grow ? `minmax(${width}px, ${grow}fr)` : `${width}px`)).join(' '));
  $('table').style.setProperty('--width', `${TABLE_COLUMNS.reduce((sum, { width }) => sum + width, 0)}px`);
  Object.assign(table, { viewport, body, header, none });
  viewport.addEventListener('scroll', onFrame(() => renderRows()), { passive: true });
  viewport.addEventListener('keydown', moveInTable);
  new ResizeObserver(onFrame(() => renderRows())).observe(viewport);
  followers.push(refreshTable);
}

function headCell(column) {
  const attributes = { class: column.numeric ? 'cell numeric' : 'cell', role: 'columnheader' };
  if (column.key === null) return stay(el('div', attributes), column);
  const button = el('button', { type: 'button', title: column.help, onclick: () => sortTable(column) },
    el('span', {}, column.title), el('span', { class: 'arrow', 'aria-hidden': 'true' }));
  return stay(el('div', { ...attributes, 'data-key': column.key }, button), column);
}

function sortTable(column) {
  const again = sorting.key === column.key;
  sorting.descending = again ? !sorting.descending : Boolean(column.numeric && !['rank', 'label_quality', 'loo_margin'].includes(column.key)) || column.key === 'corrupted';
  sorting.key = column.key;
  resort();
  refreshTable();
}

function refreshTable() {
  for (const cell of table.header.children) {
    const sorted = cell.dataset.key === sorting.key;
    if (cell.dataset.key) cell.setAttribute('aria-sort', !sorted ? 'none' : sorting.descending ? 'descending' : 'ascending');
  }
  table.viewport.setAttribute('aria-rowcount', view.shown.length + 1);
  table.body.style.height = `${view.shown.length * ROW_HEIGHT}px`;
  table.none.hidden = view.shown.length > 0;
  table.active = Math.min(table.active, view.shown.length - 1);
  table.viewport.scrollTop = 0;
  if (table.active > 0) table.active = 0;
  renderRows(true);
}

function renderRows(anew = false) {
  const { viewport, body } = table;
  const first = Math.max(0, Math.floor(viewport.scrollTop / ROW_HEIGHT) - BUFFER);
  const last = Math.min(view.shown.length, Math.ceil((viewport.scrollTop + viewport.clientHeight) / ROW_HEIGHT) + BUFFER);
  if (!anew && first === table.first && last === table.last) return;
  const kept = anew ? new Map() : new Map([...body.children].map((node) => [Number(node.dataset.position), node]));
  const nodes = [];
  for (let position = first; position < last; position++) nodes.push(kept.get(position) ?? tableRow(position));
  body.replaceChildren(...nodes);
  Object.assign(table, { first, last });
  showActive();
}

function tableRow(position) {
  const row = view.shown[position];
  const node = el('div', { class: 'row', role: 'row', id: `row-${row}`, 'data-row': row, 'data-position': position, 'aria-rowindex': position + 2,
    onclick: () => { table.active = position; showActive(); openDetail(row); } });
  for (const column of TABLE_COLUMNS) {
    const content = column.key === 'mark' ? markButtons(row, false) : column.cell(row);
    const cell = el('div', { class: column.numeric ? 'cell numeric' : 'cell', role: 'gridcell' }, content);
    if (typeof content === 'string' && content.length > 10) cell.title = column.full ? column.full(row) : content;
    node.append(stay(cell, column));
  }
  node.style.transform = `translateY(${position * ROW_HEIGHT}px)`;
  showMark(node, row);
  return node;
}

function showActive() {
  for (const node of table.body.children) node.classList.toggle('active', Number(node.dataset.position) === table.active);
  const row = view.shown[table.active];
  if (row === undefined) table.viewport.removeAttribute('aria-activedescendant');
  else table.viewport.setAttribute('aria-activedescendant', `row-${row}`);
}

function moveInTable(event) {
  const page = Math.max(1, Math.floor(table.viewport.clientHeight / ROW_HEIGHT) - 2);
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
  if (event.ctrlKey || event.metaKey || event.altKey || event.target !== table.viewport) return;
  if (event.key === 'Enter' && table.active >= 0) openDetail(view.shown[table.active]);
  else if (event.key in moves && view.shown.length) {
    table.active = Math.max(0, Math.min(view.shown.length - 1, table.active + moves[event.key]));
    scrollToActive();
  } else return;
  event.preventDefault();
}

function scrollToActive() {
  const { viewport } = table;
  const top = table.active * ROW_HEIGHT;
  const room = viewport.clientHeight - ROW_HEIGHT - 16;  // less the heading and a scroll bar
  if (top < viewport.scrollTop) viewport.scrollTop = top;
  else if (top + ROW_HEIGHT > viewport.scrollTop + room) viewport.scrollTop = top + ROW_HEIGHT - room;
  renderRows();
  showActive();
}
