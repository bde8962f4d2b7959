// Figures: drawn when they come into view, drawn anew when the selection, the colours or the page's width change.

const PRINT_WIDTH = 680; // pixels between the margins of A4
const figures = [];
let printing = false;

const figureWatch = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const figure = figures.find((one) => one.place === entry.target);
      figure.inView = entry.isIntersecting;
      if (figure.inView && figure.stale) drawFigure(figure);
    }
  },
  { rootMargin: "300px" },
);

// `build` returns {traces, layout, note}, or {empty: what is said instead of a figure}; `fixed` shows no chosen trials.
function addFigure(id, build, fixed = false) {
  const place = document.getElementById(id);
  if (!place) return;
  const figure = { place, build, fixed, stale: true, inView: false };
  figures.push(figure);
  figureWatch.observe(place);
}

function drawFigure(figure) {
  figure.stale = false;
  const { traces, layout, note, empty } = figure.build(figure.place);
  const noted = figure.place.parentElement.querySelector(".note");
  if (noted) noted.textContent = note || "";
  figure.place.classList.toggle("empty", Boolean(empty));
  if (empty) {
    Plotly.purge(figure.place);
    figure.place.style.height = "";
    figure.place.textContent = empty;
    return;
  }
  if (!figure.place.classList.contains("js-plotly-plot")) figure.place.replaceChildren();
  if (layout.height) figure.place.style.height = `${layout.height}px`;
  Plotly.react(figure.place, traces, themed(layout), {
    displaylogo: false,
    responsive: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
  });
}

function refreshFigures(fixed) {
  for (const figure of figures.filter((one) => one.fixed === fixed)) {
    figure.stale = true;
    if (figure.inView) drawFigure(figure);
  }
}

function themed(layout) {
  const [text, rule, muted, page] = ["--text", "--rule", "--muted", "--page"].map(styleOf);
  const axis = { gridcolor: rule, linecolor: muted, zeroline: false, ticks: "outside", ticklen: 4, tickcolor: muted, automargin: true, exponentformat: "none", minexponent: 6 };
  const made = {
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif", size: 13, color: text },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 56, r: 16, t: layout.showlegend === false ? 12 : 40, b: 48 },
    legend: { orientation: "h", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom", font: { size: 12 } },
    hoverlabel: { bgcolor: page, bordercolor: muted, font: { color: text, size: 12 }, align: "left" },
    hovermode: "closest",
    dragmode: matchMedia("(hover: hover)").matches ? "zoom" : false,
    ...layout,
  };
  for (const name of Object.keys(made).filter((key) => /^[xy]axis\d*$/.test(key))) made[name] = { ...axis, ...made[name] };
  if (printing) made.width = PRINT_WIDTH;
  return made;
}

function isNarrow() {
  return !printing && window.innerWidth < 640;
}

function redrawAll() {
  for (const figure of figures) {
    figure.stale = true;
    if (printing || figure.inView) drawFigure(figure);
  }
}

// `others` draws what is no figure of plotly anew, for other colours and for other widths.
function startFigures(others = { colours: () => {}, widths: () => {} }) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (redrawAll(), others.colours()));
  addEventListener("beforeprint", () => ((printing = true), redrawAll(), others.widths()));
  addEventListener("afterprint", () => ((printing = false), redrawAll(), others.widths()));
}
