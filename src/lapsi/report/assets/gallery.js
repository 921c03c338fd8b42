// The first samples of three orders, among those that the filters let through; what is to be decided about comes first.

const FIRST_CARDS = 12;
const MORE_CARDS = 24;
const WIDE = Boolean(data.texts || about.values.length);

const GALLERIES = [
  { name: 'doubted', title: targets.say.least[0], lead: targets.say.least[1], order: byQuality },
  { name: 'highest', title: 'Most informative', lead: targets.say.highest, order: byLsi.slice().reverse() },
  { name: 'lowest', title: 'Least informative', lead: 'Lowest LSI: typical or redundant, the others teach the same.', order: byLsi },
];

function setUpGalleries() {
  for (const gallery of GALLERIES) {
    gallery.limit = FIRST_CARDS;
    gallery.list = el('ul', { class: WIDE ? 'cards wide' : 'cards', 'aria-label': gallery.title });
    gallery.note = el('p', { class: 'small' });
    gallery.more = el('button', { type: 'button', class: 'quiet', onclick: () => { gallery.limit += MORE_CARDS; showGallery(gallery); } }, 'Show more');
    gallery.list.addEventListener('keydown', (event) => moveInGallery(event, gallery));
    $('gallery-list').append(el('div', { class: `gallery ${gallery.name}` },
      el('div', { class: 'gallery-head' }, el('h3', {}, gallery.title), el('p', {}, gallery.lead)),
      gallery.list, el('div', { class: 'gallery-foot' }, gallery.more, gallery.note)));
  }
  addEventListener('resize', afterPause(() => {
    for (const gallery of GALLERIES) if (firstRows(gallery).length !== gallery.rows.length) showGallery(gallery);
  }, 100));
  followers.push(() => {
    for (const gallery of GALLERIES) {
      gallery.limit = FIRST_CARDS;
      showGallery(gallery);
    }
  });
}

function firstOf(order, limit) {
  const rows = [];
  for (let place = 0; place < n && rows.length < limit; place++) if (view.mask[order[place]]) rows.push(order[place]);
  return rows;
}

const cardsPerLine = ({ list }) => getComputedStyle(list).gridTemplateColumns.split(' ').length;

/** At least as many as its limit, in whole lines. */
function firstRows(gallery) {
  const perLine = cardsPerLine(gallery);
  return firstOf(gallery.order, Math.ceil(gallery.limit / perLine) * perLine);
}

function showGallery(gallery) {
  const rows = firstRows(gallery);
  gallery.rows = rows;
  gallery.list.replaceChildren(...rows.map((row, place) => card(row, place === 0)));
  const scope = query.chosen[0] >= 0 ? targets.filters[0].scope(query.chosen[0]) : '';
  gallery.note.textContent = rows.length ? `${count(rows.length)} of ${plural(view.shown.length, 'sample')}${view.filtered ? ' selected' : ''}${scope}` : 'No sample passes these filters.';
  gallery.more.hidden = rows.length >= view.shown.length;
}

function card(row, first) {
  const { lsi, label_quality: quality } = data.measures;
  const [text, suggestion] = [targets.text(row), targets.suggestion(row)];
  const name = `sample ${data.ids[row]}, ${targets.say.label} ${text}${suggestion === null ? '' : `, suggested ${suggestion}`}, LSI ${number(lsi[row])}, ${targets.say.quality} ${percent(quality[row])}`;
  const node = el('li', { class: 'sample', tabindex: first ? 0 : -1, 'data-row': row, 'aria-label': name, onclick: () => openDetail(row) },
    sampleFace(row),
    el('p', { class: targets.roomy ? 'labels roomy' : 'labels', title: suggestion === null ? text : `${text} → ${suggestion}?` }, ...targets.face(row).filter((node) => node !== null)),
    el('p', { class: 'card-id', title: `id ${data.ids[row]}` }, `id ${ending(data.ids[row], WIDE ? 270 : 170)}`),
    el('p', { class: 'numbers' }, el('span', {}, `LSI ${number(lsi[row])}`), el('span', {}, `quality ${percent(quality[row])}`)),
    markButtons(row, false));
  showMark(node, row);
  return node;
}

function moveInGallery(event, gallery) {
  const { list, rows } = gallery;
  const cards = [...list.children];
  const at = cards.indexOf(document.activeElement);
  if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
  const perLine = Math.min(cardsPerLine(gallery), cards.length);
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: perLine, ArrowUp: -perLine, Home: -at, End: cards.length - 1 - at };
  if (event.key === 'Enter' || event.key === ' ') openDetail(rows[at]);
  else if (event.key in moves) {
    const next = cards[Math.max(0, Math.min(cards.length - 1, at + moves[event.key]))];
    cards[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  } else return;
  event.preventDefault();
}
