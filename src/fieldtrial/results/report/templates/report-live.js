// A report of a sweep that runs: served over HTTP, the page looks for a newer one and keeps the reader's place.

const LOOK_SECONDS = 10;
const QUIET_SECONDS = 5; // since the reader last touched anything
const PLACE = `fieldtrial ${location.pathname}`;

function keepPlace(version) {
  const kept = { version, text: selection.text, ranges: selection.ranges, colour: selection.colour, metric: curvesMetric.name };
  Object.assign(kept, { sort: trialsTable.sort, descending: trialsTable.descending, page: trialsTable.page });
  const sections = [...document.querySelectorAll("header, section")];
  const top = sections.filter((section) => section.getBoundingClientRect().top <= 100).pop();
  Object.assign(kept, { section: top ? top.id : "", offset: top ? top.getBoundingClientRect().top : 0, row: document.getElementById("answers-row")?.value });
  kept.opened = [...document.querySelectorAll("details")].map((one) => [one.id, one.open]);
  sessionStorage.setItem(PLACE, JSON.stringify({ ...kept, focus: document.activeElement?.id || "" }));
}

function takePlace() {
  const kept = JSON.parse(sessionStorage.getItem(PLACE) || "null");
  sessionStorage.removeItem(PLACE);
  if (!kept) return null;
  const ranges = Object.entries(kept.ranges).filter(([name]) => parallelAxes.some((axis) => axis.column.name === name));
  Object.assign(selection, { text: kept.text, ranges: Object.fromEntries(ranges) });
  document.getElementById("filter").value = kept.text;
  setChoice("colour", kept.colour, (value) => (selection.colour = value));
  setChoice("curves-metric", kept.metric, (value) => (curvesMetric.name = value));
  setChoice("answers-row", kept.row, fillLabelsTable);
  if (report.column[kept.sort]) Object.assign(trialsTable, { sort: kept.sort, descending: kept.descending, page: kept.page });
  return kept;
}

function setChoice(id, value, take) {
  const choice = document.getElementById(id);
  if (!choice || ![...choice.options].some((option) => option.value === value)) return;
  choice.value = value;
  take(value);
}

function returnTo(kept) {
  for (const [id, open] of kept.opened) document.getElementById(id)?.toggleAttribute("open", open);
  const section = document.getElementById(kept.section);
  if (section) scrollTo({ top: scrollY + section.getBoundingClientRect().top - kept.offset, behavior: "instant" });
  if (kept.focus) document.getElementById(kept.focus)?.focus({ preventScroll: true });
}

function startLive(kept) {
  if (!report.live || !location.protocol.startsWith("http")) return;
  let touched = 0;
  for (const event of ["pointerdown", "pointermove", "keydown", "wheel", "touchmove"]) addEventListener(event, () => (touched = performance.now()), { passive: true });
  let seen = kept?.version ?? null;
  const look = async () => {
    let version;
    try {
      const answer = await fetch(location.href, { method: "HEAD", cache: "no-store" });
      version = `${answer.headers.get("Last-Modified")} ${answer.headers.get("Content-Length")}`;
      seen ??= version;
      if (!answer.ok || version === seen || performance.now() - touched < 1000 * QUIET_SECONDS) return;
    } catch {
      return; // the server has gone; the page stays as it is
    }
    keepPlace(version);
    location.reload();
  };
  look(); // at once, so that a report written before the first ten seconds are over is a newer one too
  setInterval(look, 1000 * LOOK_SECONDS);
}
