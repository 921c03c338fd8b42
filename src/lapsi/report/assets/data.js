// The samples, column by column. A sample is its position 0 … n-1 in every column.

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, uint8: Uint8Array, uint32: Uint32Array,
};

function unpack(packed) {
  const binary = atob(packed.data);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place++) bytes[place] = binary.charCodeAt(place);
  return new ARRAYS[packed.type](bytes.buffer);
}

function takeJson(id) {
  const node = $(id);
  const value = JSON.parse(node.textContent);
  node.remove();
  return value;
}

const about = takeJson('about-data');
const data = readColumns(takeJson('column-data'));
const { n } = data;

function readColumns(raw) {
  const measures = Object.fromEntries(Object.entries(raw.measures).map(([name, packed]) => [name, unpack(packed)]));
  const smallest = measures.lsi.reduce((least, value) => (value > 0 && value < least ? value : least), Infinity);
  const floor = Number.isFinite(smallest) ? smallest : 1e-12;  // a logarithmic axis has no place for 0
  return {
    n: raw.n, total: raw.total, targets: raw.targets, ids: raw.ids, texts: raw.texts, measures,
    rows: raw.rows ? unpack(raw.rows) : null,
    extra: raw.extra.map((column) => (column.data ? { ...column, data: unpack(column.data) } : column)),
    corrupted: raw.corrupted ? unpack(raw.corrupted) : null,
    checks: raw.checks.map(({ title, data: packed }) => ({ title, mask: unpack(packed) })),
    differs: raw.differs ? unpack(raw.differs) : null,
    map: raw.map ? unpack(raw.map) : null,
    near: raw.near ? unpack(raw.near) : null,
    floor,
    logLsi: measures.lsi.map((value) => Math.log10(Math.max(value, floor))),
  };
}

/** Where each sample lies on the horizontal axis of the quadrants. */
const sideways = about.quadrants.of_size ? data.measures[about.quadrants.measure].map(Math.abs) : data.measures[about.quadrants.measure];
const quadrant = Uint8Array.from(sideways, (value, row) => {
  const { lsi, upper, lower, corners } = about.quadrants;
  const above = data.measures.lsi[row] >= Math.fround(lsi);
  return corners[2 * above + (value >= Math.fround(above ? upper : lower))];
});

const rowNumber = (row) => (data.rows ? data.rows[row] : row);

function extraText(column, row) {
  if (column.kind === 'number') return figure(column.data[row]);
  return column.kind === 'names' ? column.names[column.data[row]] : column.values[row];
}

function sortedBy(keys, descending = false) {
  const order = Uint32Array.from({ length: n }, (_, row) => row);
  const sign = descending ? -1 : 1;
  const rank = (value) => (value === '' || Number.isNaN(value) ? 1 : 0);  // what is missing stands last, both ways
  order.sort((a, b) => {
    const [first, second] = [keys[a], keys[b]];
    if (first === second) return a - b;
    return rank(first) - rank(second) || (first < second ? -sign : first > second ? sign : a - b);
  });
  return order;
}

const plantedRows = data.corrupted ?? data.differs;  // what is known to be wrong, or another opinion says so

const byLsi = sortedBy(data.measures.lsi);
const byQuality = sortedBy(data.measures.label_quality);
const quantileOfLsi = (share) => data.logLsi[byLsi[Math.min(n - 1, Math.round(share * (n - 1)))]];
