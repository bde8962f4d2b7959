// The crossings that are chosen, a page at a time, each with its picture.

const GALLERY_PAGE = 24;
const gallery = { shown: [], page: 0 };

function drawGallery() {
  const { crossings } = report.gallery;
  gallery.shown = chosenPlaces(crossings);
  const pages = Math.max(1, Math.ceil(gallery.shown.length / GALLERY_PAGE));
  gallery.page = Math.min(gallery.page, pages - 1);
  const start = gallery.page * GALLERY_PAGE;
  document.getElementById("gallery").replaceChildren(...gallery.shown.slice(start, start + GALLERY_PAGE).map(card));
  document.getElementById("previous").disabled = gallery.page === 0;
  document.getElementById("next").disabled = gallery.page >= pages - 1;
  const number = (one) => one.toLocaleString("en");
  const [first, last] = [start + 1, Math.min(start + GALLERY_PAGE, gallery.shown.length)];
  document.getElementById("page").textContent = gallery.shown.length ? `${number(first)}–${number(last)} of ${number(gallery.shown.length)}` : "No crossing to show.";
}

function card(at) {
  const { crossings, pictures } = report.gallery;
  const [name, direction] = [report.classes[crossings.class[at]], crossings.direction[at]];
  const what = `${name} ${crossings.track[at]}`;
  const file = crossings.file[at];
  const place = crossings.picture[at];
  const content = place >= 0 ? element("img", { src: pictures[place], alt: what, loading: "lazy", decoding: "async" }) : file ? "open the picture" : "no picture";
  const shot = element(file ? "a" : "div", { className: "shot" }, content);
  if (file) shot.href = `./${encodeURIComponent(report.snapshots)}/${encodeURIComponent(file)}`;
  const where = report.videos.length > 1 ? `, ${shorten(report.videos[crossings.video[at]], 60)}` : "";
  const line = `${shorten(report.lines[crossings.line[at]], 60)} ${ARROWS[direction]} ${DIRECTIONS[direction]}`;
  return element("li", {}, shot, element("b", { textContent: what }), element("span", { textContent: `${clock(crossings.time[at])} · ${line}${where}` }));
}

function startGallery() {
  if (!document.getElementById("gallery")) return;
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    document.getElementById(id).addEventListener("click", () => ((gallery.page += step), drawGallery()));
  }
  choiceListeners.push(() => ((gallery.page = 0), drawGallery()));
  drawGallery();
}
