// What each figure shows.

const MOST_POINTS = 2000; // in one figure; more are thinned out evenly over the ranking, and the note says so
const MOST_CURVES = 120;
const SYMBOLS = { finished: "circle", "stopped early": "circle-open", running: "diamond-open" };
const NO_TRIAL = "No trial to show.";

function axisOf(column, title) {
  let [low, high] = [Infinity, 0];
  for (const value of column.values) if (value !== null) [low, high] = [Math.min(low, Math.abs(value)), Math.max(high, Math.abs(value))];
  const exponentformat = high >= 10000 ? "SI" : column.log && low < 1e-4 ? "power" : "none";
  const dtick = column.log ? (high / low > 30 ? Math.ceil(Math.log10(high / low) / 5) : "D1") : undefined;
  return { title: { text: plain(title || column.label) }, type: column.log ? "log" : "linear", exponentformat, dtick };
}

function valuesOf(column, trials) {
  const scale = column.scale || 1;
  return trials.map((trial) => (column.values[trial] === null ? null : column.values[trial] * scale));
}

function thinned(trials, most) {
  const shown = spread(byRank(trials), most);
  const open = shown.some((trial) => cellText(report.column.outcome, trial) === "stopped early") ? "Open circles were stopped early. " : "";
  if (shown.length === trials.length) return { shown, said: open };
  const how = shown.length === most ? "evenly spread over the ranking" : "those that have a value";
  return { shown, said: `${open}${shown.length.toLocaleString("en")} of ${trials.length.toLocaleString("en")} trials shown, ${how}.` };
}

function withValue(column, trials) {
  return column ? trials.filter((trial) => Number.isFinite(column.values[trial])) : [];
}

function pointTraces(x, y, trials, axes = {}) {
  return coloured(trials).map((group) => ({
    type: "scatter",
    mode: "markers",
    name: plain(shorten(group.name, 40)),
    legendgroup: group.name,
    // the first point is not there: the legend shows its symbol
    x: [null, ...(typeof x === "function" ? group.trials.map(x) : valuesOf(x, group.trials))],
    y: [null, ...valuesOf(y, group.trials)],
    text: ["", ...group.trials.map(trialLabel)],
    hovertemplate: "%{text}<extra></extra>",
    marker: { color: group.colour, size: trials.length > 400 ? 5 : 7, opacity: 0.8, symbol: ["circle", ...group.trials.map((trial) => SYMBOLS[cellText(report.column.outcome, trial)] || "x")], line: { width: 1.3, color: group.colour } },
    ...axes,
  }));
}

function createdChart() {
  const [created, y] = [report.column.created, report.column[report.select]];
  const { shown, said } = thinned(withValue(created, withValue(y, selection.trials)), MOST_POINTS);
  if (!shown.length) return { empty: NO_TRIAL };
  const better = report.mode === "max" ? Math.max : Math.min;
  const steps = [];
  for (const trial of withValue(created, withValue(y, selection.trials)).sort((one, other) => created.values[one] - created.values[other])) {
    const value = y.values[trial] * y.scale;
    const best = steps.length ? better(steps[steps.length - 1][1], value) : value;
    if (!steps.length || best !== steps[steps.length - 1][1]) steps.push([created.values[trial], best]);
  }
  steps.push([Math.max(...shown.map((trial) => created.values[trial])), steps[steps.length - 1][1]]);
  const line = { color: styleOf("--muted"), shape: "hv", width: 1.5 };
  const best = { type: "scatter", mode: "lines", name: "best so far", x: steps.map((step) => step[0]), y: steps.map((step) => step[1]), line, hoverinfo: "skip" };
  return { traces: [best, ...pointTraces(created, y, shown)], layout: { xaxis: { type: "date", title: { text: "began (UTC)" } }, yaxis: axisOf(y) }, note: said };
}

function costChart(name) {
  const [x, y] = [report.column[name], report.column[report.select]];
  const { shown, said } = thinned(withValue(x, withValue(y, selection.trials)), MOST_POINTS);
  if (!shown.length) return { empty: NO_TRIAL };
  const sign = report.mode === "max" ? 1 : -1;
  const all = withValue(x, withValue(y, selection.trials)).sort((one, other) => x.values[one] - x.values[other] || sign * (y.values[other] - y.values[one]));
  const front = [];
  for (const trial of all) {
    if (!front.length || sign * y.values[trial] > sign * y.values[front[front.length - 1]]) front.push(trial);
  }
  const line = { color: styleOf("--text"), width: 1.5, dash: "dot", shape: "hv" };
  const trace = { type: "scatter", mode: "lines", name: `Pareto front (${front.length})`, x: valuesOf(x, front), y: valuesOf(y, front), line, hoverinfo: "skip" };
  return { traces: [...pointTraces(x, y, shown), trace], layout: { xaxis: axisOf(x), yaxis: axisOf(y)}, note: said };
}

function slicesChart() {
  const y = report.column[report.select];
  const names = report.hyperparameters;
  const { shown, said } = thinned(withValue(y, selection.trials), Math.max(200, Math.round(MOST_POINTS / Math.max(1, names.length))));
  if (!shown.length || !names.length) return { empty: names.length ? NO_TRIAL : "No hyperparameter differs between the trials." };
  const across = isNarrow() ? 1 : Math.min(3, names.length);
  const down = Math.ceil(names.length / across);
  const layout = { height: 60 + down * 250, grid: { rows: down, columns: across, pattern: "independent", xgap: 0.14, ygap: 0.3 }, margin: { l: 56, r: 12, t: 50, b: 48 } };
  const traces = names.flatMap((name, place) => {
    const suffix = place ? String(place + 1) : "";
    const column = report.column[name];
    const first = place % across === 0;
    layout[`yaxis${suffix}`] = { matches: place ? "y" : undefined, title: first ? { text: plain(y.label) } : undefined, showticklabels: first, type: y.log ? "log" : "linear" };
    const axes = { xaxis: `x${suffix}`, yaxis: `y${suffix}`, showlegend: place === 0 };
    if (column.kind === "number" && !column.steps) {
      layout[`xaxis${suffix}`] = axisOf(column, name);
      return pointTraces(column, y, shown, axes);
    }
    const levels = column.steps ? column.steps.map((value) => formatNumber(value, column)) : [...column.levels].sort(compareNaturally);
    const rank = new Map(levels.map((level, at) => [level, at]));
    const labels = levels.map((level) => plain(shorten(level, 14)));
    layout[`xaxis${suffix}`] = { title: { text: plain(name) }, tickvals: levels.map((_, at) => at), ticktext: labels, range: [-0.6, levels.length - 0.4], showgrid: false };
    const xOf = (trial) => (rank.has(cellText(column, trial)) ? rank.get(cellText(column, trial)) + jitter(trial) : null);
    const jitter = (trial) => (((trial * 2654435761) % 1000) / 1000 - 0.5) * 0.5;
    return pointTraces(xOf, y, shown, axes);
  });
  return { traces, layout, note: said };
}

function importanceChart() {
  const { names, fanova, correlation } = report.importance;
  if (!names.length) return { empty: report.importance.note };
  const bars = (values, name, colour, hover) => ({
    type: "bar", orientation: "h", width: 0.55, name, x: values, y: names.map((one) => plain(one)), marker: { color: styleOf(colour) }, hovertemplate: hover,
    text: values.map((value) => (value === null ? "" : value.toFixed(2))), textposition: "outside", cliponaxis: false, textfont: { size: 12 },
  });
  const traces = [
    { ...bars(correlation, "rank correlation", "--series-2", "%{y}: %{x:.3f}<extra>rank correlation</extra>"), xaxis: "x2", yaxis: "y" },
    { ...bars(fanova, "importance (fANOVA)", "--series-1", "%{y}: %{x:.3f}<extra>importance</extra>"), xaxis: "x", yaxis: "y" },
  ];
  const layout = {
    height: 110 + names.length * 34, showlegend: false, margin: { l: 90, r: 24, t: 20, b: 56 }, yaxis: { autorange: "reversed", ticks: "" },
    xaxis: { domain: [0, 0.46], range: [0, 1.12], title: { text: isNarrow() ? "fANOVA" : "share of the variance (fANOVA)" }, tickvals: [0, 0.5, 1] },
    xaxis2: { domain: [0.54, 1], range: [-1.25, 1.25], title: { text: isNarrow() ? "Spearman" : "rank correlation (Spearman)" }, zeroline: true, tickvals: [-1, 0, 1] },
  };
  return { traces, layout, note: report.importance.note };
}

function estimatesChart() {
  const rows = report.estimates;
  if (!rows.length) return { empty: "No row has been tested yet." };
  const names = rows.map((row) => plain(shortenName(row.label, isNarrow() ? 26 : 70)));
  const labels = names.map((_, place) => place);
  const trace = (list, name, symbol, colour) => ({
    type: "scatter", mode: "markers", name, x: list.map((row) => row.mean), y: list.map((row) => rows.indexOf(row)), text: list.map((row) => plain(row.text)),
    error_x: { type: "data", symmetric: false, array: list.map((row) => (row.high === null ? 0 : row.high - row.mean)), arrayminus: list.map((row) => (row.low === null ? 0 : row.mean - row.low)), color: styleOf(colour), thickness: 2, width: 5 },
    marker: { size: 10, symbol, color: styleOf(colour) }, hovertemplate: "%{text}<extra></extra>",
  });
  const [marked, rest] = [rows.filter((row) => row.marked), rows.filter((row) => !row.marked)];
  const traces = [trace(marked, report.markedLabel, "circle", "--series-1"), trace(rest, "the others", "circle", "--series-7")].filter((one) => one.x.length);
  const layout = {
    height: 100 + rows.length * (rows.length > 30 ? 18 : 26), margin: { l: 20, r: 16, t: 36, b: 50 },
    yaxis: { tickvals: labels, ticktext: names, range: [rows.length - 0.4, -0.6], ticks: "", tickfont: { size: isNarrow() ? 10 : 12 } },
    xaxis: { title: { text: plain(report.testLabel) } }, showlegend: marked.length > 0 && rest.length > 0,
  };
  return { traces, layout, note: `Means over the runs that were tested, with 95 % intervals for each row alone. Whether two rows differ is in the verdicts, not in whether their intervals overlap.${report.rowFields ? ` Rows: ${report.rowFields}.` : ""}` };
}

// The best rows have colours and names, the others a colour and a name together.
function budgetChart() {
  const { lines, left_out } = report.budget;
  if (!lines.length) return { empty: "No row has two search trials that count yet." };
  const named = lines.length > MOST_COLOURS ? MOST_COLOURS - 1 : lines.length;
  const others = lines.length - named;
  const traces = lines.map((line, at) => ({
    type: "scatter", mode: "lines+markers", x: line.trials, y: line.best, text: line.trials.map(() => plain(line.label)),
    name: at < named ? plain(shorten(line.label, 40)) : `${others} other${others === 1 ? "" : "s"}`, showlegend: at <= named, legendrank: at, legendgroup: String(Math.min(at, named)),
    line: { color: styleOf(`--series-${Math.min(at, MOST_COLOURS - 1) + 1}`), width: at < named ? 2 : 1 }, marker: { size: at < named ? 5 : 3 }, opacity: at < named ? 1 : 0.5,
    hovertemplate: "%{text}<br>best of %{x}: %{y:.4g}<extra></extra>",
  }));
  const most = Math.max(...lines.flatMap((line) => line.trials));
  const xaxis = { title: { text: "search trials" }, dtick: most <= 12 ? 1 : undefined };
  const y = report.column[report.select];
  const note = left_out ? `The best ${lines.length} of ${(lines.length + left_out).toLocaleString("en")} rows.` : "";
  return { traces: traces.reverse(), layout: { height: isNarrow() ? 480 : undefined, showlegend: true, xaxis, yaxis: axisOf(y, `${isNarrow() ? "" : "expected best "}${y.label}`) }, note };
}
