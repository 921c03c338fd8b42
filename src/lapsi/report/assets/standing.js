// Where a value of a column stands among all samples, and among those of its class.

const SMALLEST_PART = 5;  // samples of which a share says something

/** Of sorted numbers, the share below a value; half of its equals count. */
function shareBelow(sorted, value) {
  const first = (accepts) => {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (accepts(sorted[middle])) high = middle;
      else low = middle + 1;
    }
    return low;
  };
  return (first((other) => other >= value) + first((other) => other > value)) / (2 * sorted.length);
}

const standing = (() => {
  const sorted = new Map();  // column and part → its numbers in order, or how often each name comes
  const partOf = (row) => targets.partsOf(row)[0] ?? -1;

  function membersOf(part) {
    const rows = [];
    for (let row = 0; row < n; row++) if (part < 0 || partOf(row) === part) rows.push(row);
    return rows;
  }

  function ordered(column, part) {
    const key = `${part} ${column.key}`;
    if (!sorted.has(key)) {
      const rows = membersOf(part);
      const known = column.kind === 'number' ? Float64Array.from(rows, (row) => column.data[row]).filter((value) => !Number.isNaN(value)).sort() : null;
      const counts = new Map();
      if (!known) for (const row of rows) counts.set(extraText(column, row), (counts.get(extraText(column, row)) ?? 0) + 1);
      sorted.set(key, { known, counts, size: known ? known.length : rows.length });
    }
    return sorted.get(key);
  }

  /** Of a value, in a part (-1: all): the share of samples below it, or of those that have the same; null where that says nothing. */
  function shareOf(column, row, part) {
    const { known, counts, size } = ordered(column, part);
    if (size < SMALLEST_PART) return null;
    if (!known) return counts.get(extraText(column, row)) / size;
    return Number.isNaN(column.data[row]) ? null : shareBelow(known, column.data[row]);
  }

  /** How unusual a value is for its class, from 0 to 1. */
  function oddity(column, row, share) {
    if (share === null) return 0;
    return column.kind === 'number' ? Math.abs(2 * share - 1) : 1 - share;
  }

  return (column, row) => {
    const part = partOf(row);
    const all = shareOf(column, row, -1);
    const within = part < 0 ? null : shareOf(column, row, part);
    return { column, all, within, part, oddity: oddity(column, row, within ?? all) };
  };
})();

const CALLED_PART = targets.parts.length > 1 ? targets.say.part : '';

function standingText({ column, all, within }) {
  const share = within ?? all;
  if (share === null) return '';
  const among = within === null ? 'all' : CALLED_PART;
  return column.kind === 'number' ? `above ${percent(share)} of ${among}` : `as ${percent(share)} of ${among}`;
}

/** A line from the lowest to the highest of the class, and where the value stands on it. */
function standingMark({ column, within, all, oddity }) {
  const share = within ?? all;
  if (column.kind !== 'number' || share === null) return null;
  const mark = el('span', { class: oddity > 0.9 ? 'standing odd' : 'standing', 'aria-hidden': 'true' }, el('i', {}));
  mark.firstChild.style.left = `${100 * share}%`;
  return mark;
}

const VALUE_COLUMNS = about.values.map((key) => data.extra.find((column) => column.key === key)).filter((column) => column);

/** Standings of the columns that features were made of, the most unusual for the class of the sample first. */
const standingsOf = (row) => VALUE_COLUMNS.map((column) => standing(column, row)).sort((a, b) => b.oddity - a.oddity);

/** All of them in a table, as one sample is looked at. */
function standingTable(row) {
  const cell = (share, column) => (share === null ? '–' : column.kind === 'number' ? percent(share) : `${percent(share)} same`);
  const part = targets.partsOf(row)[0];
  const heads = ['column', 'value', 'above, of all', ...(CALLED_PART && part !== undefined ? [`of ${CALLED_PART} ${targets.parts[part]}`] : [])];
  return el('table', { class: 'standings' },
    el('thead', {}, el('tr', {}, ...heads.map((text) => el('th', { scope: 'col' }, text)))),
    el('tbody', {}, ...standingsOf(row).map((stands) => el('tr', {},
      el('th', { scope: 'row' }, stands.column.title), el('td', {}, extraText(stands.column, row) || '–'), el('td', {}, cell(stands.all, stands.column)),
      heads.length > 3 ? el('td', { class: stands.oddity > 0.9 ? 'odd' : '' }, standingMark(stands), cell(stands.within, stands.column)) : null))));
}
