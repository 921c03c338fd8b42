// What a sample looks like: a thumbnail, a sketch of its features, or the beginning of its text.

const pictures = (() => {
  const raw = takeJson('picture-data');
  const places = new Map(raw.rows.map((row, place) => [row, place]));
  return { ...raw, places, values: raw.values ? unpack(raw.values) : null };
})();

/** An element, or null where there is nothing to show. */
function pictureOf(row) {
  const place = pictures.places.get(row);
  if (place === undefined) return null;
  if (pictures.kind === 'image') {
    const image = el('img', { alt: `sample ${data.ids[row]}`, src: `data:image/webp;base64,${pictures.images[place]}`, draggable: 'false' });
    image.addEventListener('load', () => { if (image.naturalWidth <= 48) image.classList.add('pixelated'); });
    return image;
  }
  return pictures.kind === 'pixels' ? greyImage(place, row) : bars(place, row);
}

function greyImage(place, row) {
  const [width, height] = pictures.shape;
  const canvas = el('canvas', { width, height, class: 'pixelated', role: 'img', 'aria-label': `features of sample ${data.ids[row]} as a grey image` });
  const ctx = canvas.getContext('2d');
  const image = ctx.createImageData(width, height);
  for (let at = 0; at < width * height; at++) {
    const grey = pictures.values[place * width * height + at];
    image.data.set([grey, grey, grey, 255], 4 * at);
  }
  ctx.putImageData(image, 0, 0);
  return canvas;
}

function bars(place, row) {
  const [number, zero] = pictures.shape;
  const canvas = el('canvas', { width: 128, height: 128, role: 'img', 'aria-label': `features of sample ${data.ids[row]} as bars: how far each lies above or below its mean` });
  const ctx = canvas.getContext('2d');
  const y = (value) => 124 - (value / 255) * 120;
  for (let at = 0; at < number; at++) {
    const value = pictures.values[place * number + at];
    ctx.fillStyle = value >= zero ? theme.low : theme.high;
    const [top, bottom] = [Math.min(y(value), y(zero)), Math.max(y(value), y(zero))];
    ctx.fillRect(4 + (at * 120) / number, top, Math.max(1, 120 / number - 0.5), Math.max(1, bottom - top));
  }
  return canvas;
}

/** Names and values of the columns that features were made of, and where each stands; the most unusual first. */
function valuesOf(row) {
  return standingsOf(row).map((stands) => el('div', { title: `${stands.column.title}: ${extraText(stands.column, row) || '–'}, ${standingText(stands)}` },
    el('dt', {}, stands.column.title), el('dd', {}, extraText(stands.column, row) || '–'), standingMark(stands)));
}

/** The picture, text or values of a card. */
function sampleFace(row) {
  const picture = pictureOf(row);
  if (picture && data.texts) return el('div', { class: 'both' }, el('div', { class: 'face' }, picture), el('p', { title: data.texts[row] }, data.texts[row]));
  if (picture) return el('div', { class: 'face' }, picture);
  if (data.texts) return el('div', { class: 'face text' }, el('p', {}, data.texts[row]));
  if (about.values.length) return el('div', { class: 'face values' }, el('dl', {}, ...valuesOf(row)));
  return pictures.kind === 'none' ? null : el('div', { class: 'face empty' }, el('span', {}, 'no thumbnail'));
}

const GLANCE = { letters: 160, values: 3 };

/** The same in little room: its picture as the page holds it, the beginning of its text, or its most unusual values. */
function glanceAt(row) {
  const picture = pictureOf(row);
  const face = picture ? [el('div', { class: 'glance' }, picture)] : [];
  if (data.texts) return [...face, el('p', { class: 'glance-text' }, beginningOf(data.texts[row], GLANCE.letters))];
  if (picture || !about.values.length) return face;
  return standingsOf(row).slice(0, GLANCE.values).map(({ column }) => `${column.title}: ${extraText(column, row) || '–'}`);
}

const beginningOf = (text, letters) => (text.length > letters ? `${text.slice(0, letters).trimEnd()}…` : text);
