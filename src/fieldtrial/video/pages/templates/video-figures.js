// Counts and occupancy over time, in bins of minutes.

const BINS = [1, 5, 15, 60, 240, 1440];
const MOST_BARS = 60; // at first
const MOST_COLOURS = 7;
const bin = { minutes: 1 };

function binText(minutes) {
  return minutes < 60 ? `${minutes} minute${minutes === 1 ? "" : "s"}` : `${minutes / 60} hour${minutes === 60 ? "" : "s"}`;
}

// The minutes of what is chosen, from its first to the one after its last, on the axis of all videos.
function chosenSpan() {
  const at = choice.video;
  return at === ALL ? [0, report.starts[report.videos.length]] : [report.starts[at], report.starts[at + 1]];
}

// The first minutes of bins, with those of each video from its own start on.
function binsOf([first, end], minutes) {
  const bins = [];
  report.videos.forEach((_, video) => {
    const [start, stop] = [report.starts[video], report.starts[video + 1]];
    if (start < first || stop > end) return;
    for (let minute = start; minute < stop; minute += minutes) bins.push({ video, minute, own: minute - start });
  });
  return bins;
}

// Minutes on the axis as hours and minutes: for one video its own times.
function timeAxis([first, end]) {
  const span = end - first;
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 2880, 10080].find((one) => span / one <= (isNarrow() ? 5 : 10)) || Math.ceil(span / 10);
  const places = [];
  for (let minute = first; minute <= end; minute += step) places.push(minute);
  const text = (minute) => `${Math.floor((minute - first) / 60)}:${String((minute - first) % 60).padStart(2, "0")}`;
  const several = report.videos.length > 1 && end - first === report.starts[report.videos.length];
  const title = several ? "one video after another" : "since the video began";
  return { range: [first, end], tickvals: places, ticktext: places.map(text), title: { text: isNarrow() ? title : `hours and minutes, ${title}` }, showgrid: false };
}

// Where one video ends and the next begins, if they can be told apart.
function seams([first, end]) {
  const inner = report.starts.slice(1, -1).filter((minute) => minute > first && minute < end);
  if (inner.length > 40) return [];
  const line = { color: styleOf("--faint"), width: 1, dash: "dot" };
  return inner.map((minute) => ({ type: "line", xref: "x", yref: "paper", x0: minute, x1: minute, y0: 0, y1: 1, line, layer: "below" }));
}

function countsChart() {
  const columns = report.counts.columns;
  const places = chosenPlaces(columns);
  if (!places.length) return { empty: "No crossing to show." };
  const span = chosenSpan();
  const bins = binsOf(span, bin.minutes);
  const place = new Map(bins.map((one, at) => [`${one.video}/${one.own}`, at]));
  const sums = new Map(); // of a class and direction, by bin
  let most = 0;
  for (const at of places) {
    const key = `${columns.class[at]}/${columns.direction[at]}`;
    if (!sums.has(key)) sums.set(key, new Array(bins.length).fill(0));
    const own = Math.floor((columns.bin[at] * report.counts.minutes) / bin.minutes) * bin.minutes;
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
        x: known.map((at) => bins[at].minute + bin.minutes / 2), y: known.map((at) => (direction ? -counts[at] : counts[at])), width: bin.minutes * 0.9,
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
  return { traces, layout, note: `${total.toLocaleString("en")} crossings, in bars of ${binText(bin.minutes)}.` };
}

function hoverOf({ video, own }, name, direction, count) {
  const when = `${clock(60 * own, false)} to ${clock(60 * (own + bin.minutes), false)}`;
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
  const { columns, minutes } = report.occupancy;
  if (!columns.video.length) return { empty: "No vehicle was in a zone." };
  const span = [0, report.starts[report.videos.length]];
  const traces = report.zones.slice(0, 2 * MOST_COLOURS).map((name, zone) => {
    const places = columns.zone.map((_, at) => at).filter((at) => columns.zone[at] === zone);
    const start = (at) => report.starts[columns.video[at]] + columns.bin[at] * minutes;
    const color = styleOf(`--series-${(zone % MOST_COLOURS) + 1}`);
    const text = (at) => `${plain(shorten(name, 30))}, from ${clock(60 * columns.bin[at] * minutes, false)}: ${columns.mean[at]} on average, at most ${columns.most[at]}, ${columns.entered[at]} came in`;
    return {
      type: "scatter", mode: places.length > 1 ? "lines" : "markers", name: plain(shorten(name, 30)), x: places.map((at) => start(at) + minutes / 2), y: places.map((at) => columns.mean[at]),
      line: { color, width: 1.8, shape: "hvh", dash: zone < MOST_COLOURS ? "solid" : "dash" }, marker: { color, size: 9 }, text: places.map(text), hovertemplate: "%{text}<extra></extra>",
    };
  });
  const left = report.zones.length > traces.length ? ` The first ${traces.length} of ${report.zones.length} zones.` : "";
  return { traces, layout: { height: isNarrow() ? 320 : 380, showlegend: true, shapes: seams(span), xaxis: timeAxis(span), yaxis: { title: { text: "vehicles in the zone, mean" }, rangemode: "tozero" } }, note: `By ${binText(minutes)}.${left}` };
}

function startBins() {
  const select = document.getElementById("choose-bin");
  if (!select) return;
  const least = report.counts.minutes;
  const total = report.starts[report.videos.length];
  const offered = BINS.filter((minutes) => minutes >= least && (minutes === least || minutes < total));
  bin.minutes = offered.find((minutes) => total / minutes <= (isNarrow() ? MOST_BARS / 2 : MOST_BARS)) || offered[offered.length - 1];
  for (const minutes of offered) select.append(element("option", { value: String(minutes), textContent: binText(minutes), selected: minutes === bin.minutes }));
  select.addEventListener("change", () => ((bin.minutes = Number(select.value)), refreshFigures(false)));
}
