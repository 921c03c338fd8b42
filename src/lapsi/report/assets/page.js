// Puts the parts together: theme, keys, first drawing.

const THEME_STORE = 'lapsi-theme';

function setUpTheme() {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const isDark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : system.matches);
  const apply = () => {
    $('theme').textContent = isDark() ? 'Light' : 'Dark';
    $('theme').setAttribute('aria-label', `Switch to ${isDark() ? 'light' : 'dark'} colours`);
    readTheme();
    for (const plot of plots) plot.afterTheme?.();
    redrawPlots();
  };
  try {
    const kept = localStorage.getItem(THEME_STORE);
    if (kept === 'dark' || kept === 'light') root.dataset.theme = kept;
  } catch {
    // without storage the system's choice holds
  }
  $('theme').addEventListener('click', () => {
    root.dataset.theme = isDark() ? 'light' : 'dark';
    try {
      localStorage.setItem(THEME_STORE, root.dataset.theme);
    } catch {
      // it then holds until the page is left
    }
    apply();
    refilterSoon();  // sketches are drawn in the colours of the theme
  });
  system.addEventListener('change', apply);
  apply();
}

/** The sample that the keyboard is at. */
function sampleInFocus() {
  if ($('detail').open) return detail.row;
  const within = document.activeElement?.closest('[data-row]');
  if (within) return Number(within.dataset.row);
  return document.activeElement === table.viewport && table.active >= 0 ? view.shown[table.active] : -1;
}

function setUpKeys() {
  document.addEventListener('keydown', (event) => {
    if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = ACTIONS[Number(event.key) - 1];
    const row = sampleInFocus();
    if (row < 0 || (!action && event.key !== '0')) return;
    mark(row, action ?? null);
    event.preventDefault();
  });
}

setUpTheme();
setUpFilters();
setUpKept();
setUpReview();
setUpHistogram();
setUpClasses();
setUpScatter();
setUpMap();
targets.setUp();
setUpTable();
setUpGalleries();
setUpDetail();
setUpKeys();
followers.push(redrawPlots);
$('show-selected').addEventListener('click', clearAll);
refilter();
for (const plot of plots) plot.drawNow();
document.documentElement.dataset.ready = String(Math.round(performance.now()));
