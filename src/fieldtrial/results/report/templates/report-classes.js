// What each row's winner says of each class: the confusion matrix, the accuracies and the ROC curves on test.

const MOST_NAMED = 24; // classes whose names fit beside a matrix

function classNames(row) {
  return row.names.map((name) => plain(shorten(name, 16)));
}

function confusionChart() {
  const row = chosenAnswers();
  const names = classNames(row);
  const ticks = names.length <= MOST_NAMED ? { tickvals: names.map((_, at) => at), ticktext: names } : {};
  const trace = {
    type: "heatmap", z: row.confusion.map((line) => line.map((count) => count / Math.max(1, line.reduce((sum, one) => sum + one, 0)))),
    text: row.confusion.map((line) => line.map((count) => (count ? String(count) : ""))), zmin: 0, zmax: 1, xgap: 1, ygap: 1,
    texttemplate: names.length <= MOST_NAMED ? "%{text}" : "", customdata: row.confusion.map((line, at) => line.map((count, other) => `${names[at]} taken for ${names[other]}: ${count}`)),
    hovertemplate: "%{customdata}<br>%{z:.1%} of the class<extra></extra>", colorscale: [[0, styleOf("--raised")], [1, styleOf("--series-1")]],
    colorbar: { title: { text: "share of the class", side: "right" }, tickformat: ".0%", thickness: 12, outlinewidth: 0 }, showscale: !isNarrow(),
  };
  const axis = { ...ticks, showgrid: false, ticks: "" };
  const layout = { height: isNarrow() ? 360 : 460, yaxis: { ...axis, autorange: "reversed", title: { text: "actual" } }, xaxis: { ...axis, title: { text: "predicted" } } };
  return { traces: [trace], layout, note: `${row.images.toLocaleString("en")} predictions of ${row.runs} runs on test; the diagonal is what was right.` };
}

function classAccuracyChart() {
  const row = chosenAnswers();
  const order = [...row.accuracy.keys()].sort((one, other) => (row.accuracy[one] ?? 2) - (row.accuracy[other] ?? 2));
  const names = order.map((at) => plain(shorten(row.names[at], 24)));
  const ends = order.map((at) => (row.interval[at] || [null, null]).map((end) => (end === null ? null : 100 * end)));
  const of = (at) => 100 * row.accuracy[order[at]];
  const trace = {
    type: "bar", orientation: "h", x: order.map((at) => (row.accuracy[at] === null ? null : 100 * row.accuracy[at])), y: order.map((_, at) => at),
    text: order.map((at) => `${row.accuracy[at] === null ? "–" : (100 * row.accuracy[at]).toFixed(1)} of ${row.support[at].toLocaleString("en")}`),
    textposition: "auto", marker: { color: styleOf("--series-1") },
    error_x: { type: "data", symmetric: false, array: ends.map(([, high], at) => (high === null ? 0 : Math.max(0, high - of(at)))), arrayminus: ends.map(([low], at) => (low === null ? 0 : Math.max(0, of(at) - low))), color: styleOf("--muted"), thickness: 1.5, width: 3 },
    hovertemplate: names.map((name, at) => `${name}: %{x:.2f} %${ends[at][0] === null ? "" : ` (95 % interval ${ends[at][0].toFixed(1)} to ${ends[at][1].toFixed(1)} %)`}<extra></extra>`),
  };
  const layout = {
    height: Math.max(220, 110 + names.length * (names.length > 30 ? 14 : 28)), margin: { l: 20, r: 16, t: 36, b: 50 }, showlegend: false, xaxis: { range: [0, 101], title: { text: "accuracy in the class, and F1 (%)" } },
    yaxis: { tickvals: order.map((_, at) => at), ticktext: names, autorange: "reversed", ticks: "" },
  };
  const f1 = {
    type: "scatter", mode: "markers", name: "F1", x: order.map((at) => 100 * row.f1[at]), y: order.map((_, at) => at), marker: { symbol: "diamond", size: 9, color: styleOf("--series-2"), line: { width: 1, color: styleOf("--page") } },
    hovertemplate: names.map((name) => `${name}: F1 %{x:.2f} %<extra></extra>`),
  };
  return { traces: [trace, f1], layout, note: "The hardest class first. Bars are accuracies, diamonds F1. The lines are 95 % intervals for other seeds and other images of the class, each for itself." };
}

function rocChart() {
  const row = chosenAnswers();
  const shown = row.roc;
  if (!shown.length) return { empty: "No class has test images beside others." };
  const traces = shown.map((curve, at) => ({
    type: "scatter", mode: "lines", name: `${plain(shorten(curve.name, 20))} (AUC ${curve.auc.toFixed(3)})`, x: curve.false_positive, y: curve.true_positive,
    line: { color: styleOf(`--series-${(at % MOST_COLOURS) + 1}`), width: 1.8, dash: at < MOST_COLOURS ? "solid" : "dash" }, hovertemplate: "%{x:.3f}, %{y:.3f}<extra>%{fullData.name}</extra>",
  }));
  traces.push({ type: "scatter", mode: "lines", name: "chance", x: [0, 1], y: [0, 1], line: { color: styleOf("--muted"), dash: "dot", width: 1 }, hoverinfo: "skip" });
  const layout = { height: 460, xaxis: { title: { text: "false positive rate" }, range: [-0.01, 1] }, yaxis: { title: { text: "true positive rate" }, range: [0, 1.02] },
    legend: isNarrow() ? { orientation: "h", y: -0.25, yanchor: "top" } : { orientation: "v", x: 1.02, y: 1, yanchor: "top", xanchor: "left" } };
  const left = row.classes_with_curve > shown.length ? ` The ${shown.length} classes with the smallest area of ${row.classes_with_curve}.` : "";
  return { traces, layout, note: `One class against the others, from the probabilities of all runs together.${left}` };
}
