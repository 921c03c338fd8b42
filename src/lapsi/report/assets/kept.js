// A filter by any column that travelled along: by its names, or by quarters of its numbers.

const MOST_NAMES = 200;
const QUARTERS = 4;

function choicesOf(column) {
  if (column.kind === 'names' && column.names.length <= MOST_NAMES) {
    return column.names.map((name, code) => [name || '(none)', (row) => column.data[row] === code]);
  }
  if (column.kind !== 'number') return [];
  const order = Float64Array.from(column.data).filter((value) => !Number.isNaN(value)).sort();
  if (!order.length) return [];
  const edges = [...new Set(Array.from({ length: QUARTERS + 1 }, (_, place) => order[Math.round((place * (order.length - 1)) / QUARTERS)]))];
  if (edges.length === 1) return [];
  return edges.slice(1).map((high, place) => {
    const low = edges[place];
    return [`${figure(low)} to ${figure(high)}`, (row) => (place ? column.data[row] > low : column.data[row] >= low) && column.data[row] <= high];
  });
}

function setUpKept() {
  const columns = data.extra.map((column) => [column, choicesOf(column)]).filter(([column, choices]) => choices.length > 1 && column.key !== 'path');
  if (!columns.length) return;
  const [field, values] = [$('kept-filter'), $('kept-value')];
  const option = (value, text) => el('option', { value }, text);
  field.parentElement.hidden = false;
  field.append(option(-1, 'any column'), ...columns.map(([column], place) => option(place, column.title)));
  const clear = () => {
    field.value = '-1';
    values.parentElement.hidden = true;
    select('kept', '', null);
  };
  field.addEventListener('change', () => {
    if (field.value === '-1') {
      clear();
      return;
    }
    const [column, choices] = columns[Number(field.value)];
    values.parentElement.hidden = false;
    values.previousElementSibling.textContent = column.title;
    values.replaceChildren(option(-1, 'choose'), ...choices.map(([name], place) => option(place, name)));
    select('kept', '', null);
  });
  values.addEventListener('change', () => {
    const [column, choices] = columns[Number(field.value)];
    const chosen = choices[Number(values.value)];
    select('kept', chosen ? `${column.title}: ${chosen[0]}` : '', chosen ? chosen[1] : null, clear);
  });
}
