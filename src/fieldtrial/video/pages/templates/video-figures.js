// Counts and occupancy over time, in bins of seconds.

const BINS = [1, 5, 15, 60, 300, 900, 3600, 14400, 86400];
const MOST_BARS = 60; // at first
const MOST_BINS = 5000;
const MOST_COLOURS = 7;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800];
const bin = { seconds: 60 };

function binText(seconds) {
  const [number, unit] = seconds < 60 ? [seconds, "second"] : seconds < 3600 ? [seconds / 60, "minute"] : [seconds / 3600, "hour"];
  return `${number} ${unit}${number === 1 ? "" : "s"}`;
}

function wholeSpan() {
  return [0, report.starts[report.videos.length]];
}

// The seconds of what is chosen, from its first to the one after its last, on the axis of all videos.
function chosenSpan() {
  const at = choice.video;
  return at === ALL ? wholeSpan() : [report.starts[at], report.starts[at + 1]];
}

// The first seconds of bins, with those of each video from its own start on.
function binsOf([first, end], seconds) {
  const bins = [];
  report.videos.forEach((_, video) => {
    const [start, stop] = [report.starts[video], report.starts[video + 1]];
    if (start < first || stop > end) return;
    for (let second = start; second < stop && bins.length < 2 * MOST_BINS; second += seconds) bins.push({ video, second, own: second - start });
  });
  return bins;
}

// Hours, minutes and, on a short axis, seconds: for one video its own times.
function timeAxis([first, end]) {
  const span = end - first;
  const step = STEPS.find((one) => span / one <= (isNarrow() ? 5 : 10)) || Math.ceil(span / 10);
  const places = [];
  for (let second = first; second <= end; second += step) places.push(second);
  const text = (second) => (step < 60 ? clock(second - first, false) : clock(second - first, false).replace(/:00$/, ""));
  const title = report.videos.length > 1 && span === wholeSpan()[1] ? "one video after another" : "since the video began";
  return { range: [first, end], tickvals: places, ticktext: places.map(text), title: { text: isNarrow() ? title : `hours and minutes, ${title}` }, showgrid: false };
}

// Where one video ends and the next begins, if they can be told apart.
function seams([first, end]) {
  const inner = report.starts.slice(1, -1).filter((second) => second > first && second < end);
  if (inner.length > 40) return [];
  const line = { color: styleOf("--faint"), width: 1, dash: "dot" };
  return inner.map((second) => ({ type: "line", xref: "x", yref: "paper", x0: second, x1: second, y0: 0, y1: 1, line, layer: "below" }));
}

function countsChart() {
  const columns = report.counts.columns;
  const places = chosenPlaces(columns);
  if (!places.length) return { empty: "No crossing to show." };
  const span = chosenSpan();
  const bins = binsOf(span, bin.seconds);
  const place = new Map(bins.map((one, at) => [`${one.video}/${one.own}`, at]));
  const sums = new Map(); // of a class and direction, by bin
  let most = 0;
  for (const at of places) {
    const key = `${columns.class[at]}/${columns.direction[at]}`;
    if (!sums.has(key)) sums.set(key, new Array(bins.length).fill(0));
    const own = Math.floor((columns.bin[at] * report.counts.seconds) / bin.seconds) * bin.seconds;
    const where = place.get(`${columns.video[at]}/${own}`);
    if (where !== undefined) sums.get(key)[where] += columns.count[at];
  }
  for (const direction of [0, 1]) {
    const totals = bins.map((_, at) => report.classes.reduce((sum, _, label) => sum + (sums.get(`${label}/${direction}`)?.[at] || 0), 0));
    most = Math.max(most, ...totals);
  }
  const traces = [];
  report.classes.forEach((name, label) => {
    for (const direction of [0, 1]) {
      const counts = sums.get(`${label}/${direction}`);
      if (!counts) continue;
      const known = counts.map((count, at) => at).filter((at) => counts[at]);
      traces.push({
        type: "bar", name: plain(shorten(name, 30)), legendgroup: String(label), showlegend: direction === 0 || !sums.has(`${label}/0`),
        x: known.map((at) => bins[at].second + bin.seconds / 2), y: known.map((at) => (direction ? -counts[at] : counts[at])), width: bin.seconds * 0.9,
        marker: { color: styleOf(`--series-${(label % MOST_COLOURS) + 1}`), pattern: { shape: label >= MOST_COLOURS ? "/" : "" } },
        text: known.map((at) => hoverOf(bins[at], name, direction, counts[at])), hovertemplate: "%{text}<extra></extra>", textposition: "none",
      });
    }
  });
  const ticks = countTicks(most);
  const layout = {
    barmode: "relative", height: isNarrow() ? 360 : 440, shapes: seams(span), xaxis: timeAxis(span), legend: { orientation: "h", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom", itemclick: false, itemdoubleclick: false },
    yaxis: { tickvals: ticks, ticktext: ticks.map((tick) => Math.abs(tick).toLocaleString("en")), title: { text: `← left · crossings · right →` }, zeroline: true, zerolinecolor: styleOf("--muted"), zerolinewidth: 1.5 },
  };
  const total = places.reduce((sum, at) => sum + columns.count[at], 0);
  return { traces, layout, note: `${total.toLocaleString("en")} crossings, in bars of ${binText(bin.seconds)}.` };
}

function hoverOf({ video, own }, name, direction, count) {
  const when = `${clock(own, false)} to ${clock(own + bin.seconds, false)}`;
  const where = report.videos.length > 1 ? `<br>${plain(shorten(report.videos[video], 50))}` : "";
  return `${count.toLocaleString("en")} ${plain(shorten(name, 30))} ${ARROWS[direction]} ${DIRECTIONS[direction]}<br>${when}${where}`;
}

// Whole numbers at equal distances, below zero too.
function countTicks(most) {
  const rough = Math.max(1, most / 3);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].find((one) => one * power >= rough) * power);
  const ticks = [];
  for (let tick = step; tick <= most + step / 2; tick += step) ticks.unshift(-tick), ticks.push(tick);
  return [...ticks, 0].sort((one, other) => one - other);
}

function zonesChart() {
  const { columns, seconds } = report.occupancy;
  if (!columns.video.length) return { empty: "No vehicle was in a zone." };
  const span = wholeSpan();
  if (span[1] < 3 * seconds) return { empty: `A figure over time begins with ${binText(3 * seconds)} of video.` };
  const traces = report.zones.slice(0, 2 * MOST_COLOURS).map((name, zone) => {
    const places = columns.zone.map((_, at) => at).filter((at) => columns.zone[at] === zone);
    const start = (at) => report.starts[columns.video[at]] + columns.bin[at] * seconds;
    const color = styleOf(`--series-${(zone % MOST_COLOURS) + 1}`);
    const text = (at) => `${plain(shorten(name, 30))}, from ${clock(columns.bin[at] * seconds, false)}: ${columns.mean[at]} on average, at most ${columns.most[at]}, ${columns.entered[at]} came in`;
    return {
      type: "scatter", mode: places.length > 1 ? "lines" : "markers", name: plain(shorten(name, 30)), x: places.map((at) => start(at) + seconds / 2), y: places.map((at) => columns.mean[at]),
      line: { color, width: 1.8, shape: "hvh", dash: zone < MOST_COLOURS ? "solid" : "dash" }, marker: { color, size: 9 }, text: places.map(text), hovertemplate: "%{text}<extra></extra>",
    };
  });
  const left = report.zones.length > traces.length ? ` The first ${traces.length} of ${report.zones.length} zones.` : "";
  return { traces, layout: { height: isNarrow() ? 320 : 380, showlegend: true, shapes: seams(span), xaxis: timeAxis(span), yaxis: { title: { text: "vehicles in the zone, mean" }, rangemode: "tozero" } }, note: `By ${binText(seconds)}.${left}` };
}

function startBins() {
  const select = document.getElementById("choose-bin");
  if (!select) return;
  const [, total] = wholeSpan();
  const isOffered = (seconds) => seconds >= report.counts.seconds && total / seconds <= MOST_BINS && seconds < total;
  const offered = BINS.filter(isOffered);
  if (!offered.length) offered.push(report.counts.seconds);
  bin.seconds = offered.find((seconds) => total / seconds <= (isNarrow() ? MOST_BARS / 2 : MOST_BARS)) || offered[offered.length - 1];
  for (const seconds of offered) select.append(element("option", { value: String(seconds), textContent: binText(seconds), selected: seconds === bin.seconds }));
  select.addEventListener("change", () => ((bin.seconds = Number(select.value)), refreshFigures(false)));
}
