// Parallel coordinates on a canvas: a line a trial, an axis a hyperparameter, brushed by pointer or by keys.

const INSET = { left: 30, right: 40, top: 51, bottom: 35 }; // of the axes in the canvas; as in the style sheet
const SHADES = 24;
const KEY_STEP = 0.02;
// viridis, which orders by lightness too, so that it is read without colours
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];

function makeAxis(column) {
  if (column.kind === "category") {
    const sorted = rankLevels(column.levels);
    const last = Math.max(1, column.levels.length - 1);
    const order = column.levels.map((_, level) => (column.levels.length === 1 ? 0.5 : sorted[level] / last));
    return { column, order, ticks: thinTicks(column.levels.map((level, place) => [order[place], level])) };
  }
  if (column.steps) {
    const last = Math.max(1, column.steps.length - 1);
    const steps = new Map(column.steps.map((value, place) => [value, column.steps.length === 1 ? 0.5 : place / last]));
    return { column, steps, ticks: [...steps].map(([value, place]) => [place, formatNumber(value, column)]) };
  }
  const scaled = (value) => (column.log ? Math.log10(value) : value);
  const numbers = column.values.filter(Number.isFinite).map(scaled);
  let [low, high] = [Infinity, -Infinity];
  for (const number of numbers) [low, high] = [Math.min(low, number), Math.max(high, number)];
  if (!(high > low)) [low, high] = numbers.length ? [low - 0.5, low + 0.5] : [0, 1];
  const ticks = roundValues(low, high, column.log).map((value) => [(value - low) / (high - low), tickText(column.log ? 10 ** value : value, column)]);
  return { column, scaled, low, high, ticks };
}

// Four to eight round values from low to high: powers of ten, or else multiples of 1, 2 or 5.
function roundValues(low, high, log) {
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = log && high - low >= 2 ? Math.max(1, Math.round(rough)) : [1, 2, 5, 10].find((times) => times * power >= rough) * power;
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, place) => (first + place) * step);
}

function tickText(value, column) {
  const number = Number((value * (column.scale || 1)).toPrecision(3));
  return Math.abs(number) >= 1e4 ? `${Number((number / 10 ** (number >= 1e6 ? 6 : 3)).toPrecision(3))}${number >= 1e6 ? "M" : "k"}` : String(number);
}

function thinTicks(ticks) {
  return spread([...ticks].sort((one, other) => one[0] - other[0]), 9);
}

const parallelAxes = report.parallel.map((name) => makeAxis(report.column[name]));
const parallel = { canvas: null, context: null, width: 0, height: 0 };
const frames = new Map(); // what is to be drawn, with the frame it waits for

function axisX(place) {
  const span = parallel.width - INSET.left - INSET.right;
  return INSET.left + (parallelAxes.length > 1 ? (place * span) / (parallelAxes.length - 1) : span / 2);
}

function pathOf(trial) {
  const height = parallel.height - INSET.top - INSET.bottom;
  return parallelAxes.map((axis, place) => {
    const share = placeOn(axis, trial);
    return [axisX(place), share === null ? parallel.height - 14 : INSET.top + (1 - share) * height]; // no value: below
  });
}

function strokeTrials(trials, colour, width) {
  const context = parallel.context;
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  for (const trial of trials) pathOf(trial).forEach(([x, y], place) => (place ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

function drawParallel() {
  if (!parallel.canvas) return;
  const started = performance.now();
  const { context, width, height } = parallel;
  context.clearRect(0, 0, width, height);
  const many = selection.trials.length > 500;
  if (selection.trials.length < report.count) {
    context.globalAlpha = 0.35;
    strokeTrials(spread([...Array(report.count).keys()], 1500), styleOf("--rule"), 1);
  }
  const ranked = byRank(selection.trials);
  const size = Math.max(1, ranked.length / SHADES);
  context.globalAlpha = many ? 0.35 : 0.75;
  for (let shade = 0; shade * size < ranked.length; shade++) { // the worst first, the best on top
    const part = ranked.slice(Math.round(shade * size), Math.round((shade + 1) * size));
    strokeTrials(part, VIRIDIS[Math.min(9, Math.floor((9.99 * (shade + 0.5) * size) / ranked.length))], many ? 1 : 1.4);
  }
  context.globalAlpha = 1;
  const unranked = selection.trials.length - ranked.length;
  const note = document.querySelector("#parallel .note");
  note.textContent = `${ranked.length.toLocaleString("en")} trials shown, the best in yellow, the worst in violet.` +
    (unranked ? ` ${unranked.toLocaleString("en")} without a value of ${report.selectLabel} are not drawn.` : "") +
    (report.parallelLeftOut.length ? ` Without an axis, as the least important: ${report.parallelLeftOut.join(", ")}.` : "");
  parallel.milliseconds = performance.now() - started;
}

function soon(draw) {
  cancelAnimationFrame(frames.get(draw));
  frames.set(draw, requestAnimationFrame(draw));
}

function layOutParallel() {
  const place = document.getElementById("parallel-chart");
  if (!place || !parallelAxes.length) return;
  place.style.setProperty("--parallel-width", printing ? "0px" : `${parallelAxes.length * 92}px`);
  place.style.width = printing ? `${PRINT_WIDTH}px` : "";
  const ratio = devicePixelRatio || 1;
  Object.assign(parallel, { width: place.clientWidth, height: place.clientHeight });
  Object.assign(parallel.canvas, { width: Math.round(parallel.width * ratio), height: Math.round(parallel.height * ratio) });
  parallel.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  place.classList.toggle("staggered", axisX(1) - axisX(0) < 190);
  parallelAxes.forEach((axis, at) => (axis.place.style.left = `${axisX(at)}px`));
  drawParallel();
}

function setRange(axis, range) {
  if (range === null) delete selection.ranges[axis.column.name];
  else selection.ranges[axis.column.name] = [Math.max(0, Math.min(...range)), Math.min(1, Math.max(...range))];
  soon(select);
}

function showBrush(axis) {
  const range = selection.ranges[axis.column.name];
  const [low, high] = range || [0, 1];
  axis.place.classList.toggle("brushed", Boolean(range));
  Object.assign(axis.brush.style, { display: range ? "" : "none", top: `${100 * (1 - high)}%`, height: `${100 * (high - low)}%` });
  axis.handles.forEach((handle, end) => {
    const share = end ? high : low;
    handle.style.top = `${100 * (1 - share)}%`;
    handle.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    handle.setAttribute("aria-valuetext", valueAt(axis, share));
  });
}

function valueAt(axis, share) {
  if (axis.steps) return formatNumber(axis.column.steps[Math.round(share * (axis.column.steps.length - 1))], axis.column);
  if (axis.order) {
    const nearest = axis.order.reduce((best, place, level) => (Math.abs(place - share) < Math.abs(axis.order[best] - share) ? level : best), 0);
    return axis.column.levels[nearest];
  }
  const value = axis.low + share * (axis.high - axis.low);
  return formatNumber(axis.column.log ? 10 ** value : value, { ...axis.column, whole: false });
}

function listenToPointer(axis) {
  const shareAt = (event) => {
    const box = axis.place.getBoundingClientRect();
    return Math.min(1, Math.max(0, 1 - (event.clientY - box.top) / box.height));
  };
  let start = null;
  axis.place.addEventListener("pointerdown", (event) => {
    start = shareAt(event);
    axis.place.setPointerCapture(event.pointerId);
  });
  axis.place.addEventListener("pointermove", (event) => {
    if (start !== null && Math.abs(shareAt(event) - start) > 0.01) setRange(axis, [start, shareAt(event)]);
  });
  axis.place.addEventListener("pointerup", (event) => {
    if (start !== null && Math.abs(shareAt(event) - start) <= 0.01) setRange(axis, null);
    start = null;
  });
  axis.place.addEventListener("pointercancel", () => (start = null));
}

function listenToKeys(axis, handle, end) {
  handle.addEventListener("keydown", (event) => {
    const range = [...(selection.ranges[axis.column.name] || [0, 1])];
    const steps = { ArrowUp: KEY_STEP, ArrowRight: KEY_STEP, ArrowDown: -KEY_STEP, ArrowLeft: -KEY_STEP, PageUp: 0.1, PageDown: -0.1 };
    if (event.key === "Escape") setRange(axis, null);
    else if (event.key === "Home" || event.key === "End") range[end] = event.key === "Home" ? 0 : 1;
    else if (steps[event.key]) range[end] += steps[event.key];
    else return;
    event.preventDefault();
    if (event.key === "Escape") return;
    range[end] = end ? Math.max(range[0], range[1]) : Math.min(range[0], range[1]);
    setRange(axis, range);
  });
}

function startParallel() {
  const place = document.getElementById("parallel-chart");
  if (parallelAxes.length < 2) {
    document.querySelector("#parallel .note").textContent = "No hyperparameter differs between the trials.";
    return place.remove();
  }
  parallel.canvas = element("canvas", {});
  parallel.canvas.setAttribute("aria-hidden", "true"); // the list of trials has what it shows
  parallel.context = parallel.canvas.getContext("2d");
  place.append(parallel.canvas);
  parallelAxes.forEach((axis, at) => {
    axis.place = element("div", { className: `axis${at === 0 ? " first" : at === parallelAxes.length - 1 ? " last" : ""}` });
    axis.place.append(element("span", { className: "name", textContent: axis.column.label, title: axis.column.label }));
    for (const [share, text] of axis.ticks) {
      const tick = element("span", { className: "tick", textContent: shorten(text, 14) });
      tick.style.top = `${100 * (1 - share)}%`;
      axis.place.append(tick);
    }
    axis.brush = element("div", { className: "brush" });
    axis.handles = ["least", "most"].map((what, end) => {
      const handle = element("button", { type: "button", className: "handle" });
      const says = { role: "slider", "aria-label": `${what} ${axis.column.label}`, "aria-valuemin": "0", "aria-valuemax": "100", "aria-orientation": "vertical" };
      Object.entries(says).forEach(([name, value]) => handle.setAttribute(name, value));
      listenToKeys(axis, handle, end);
      return handle;
    });
    axis.place.append(axis.brush, ...axis.handles);
    listenToPointer(axis);
    place.append(axis.place);
  });
  selectionListeners.push(() => (parallelAxes.forEach(showBrush), drawParallel()));
  new ResizeObserver(() => soon(layOutParallel)).observe(place);
  layOutParallel();
}
