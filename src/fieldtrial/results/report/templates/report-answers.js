// What each row's winner answered on test where that is no class: labels, or a number; and the choice of the row.

function chosenAnswers() {
  return report[report.answers].rows[Number(document.getElementById("answers-row").value)];
}

function startAnswers() {
  const chosen = document.getElementById("answers-row");
  if (!chosen) return;
  report[report.answers].rows.forEach((row, at) => chosen.append(element("option", { value: String(at), textContent: row.label })));
  chosen.addEventListener("change", () => (refreshFigures(true), fillLabelsTable()));
  fillLabelsTable();
}

// The places of the labels, the hardest first; those that no image has at the end.
function hardestFirst(row) {
  return [...row.ap.keys()].sort((one, other) => (row.ap[one] ?? 2) - (row.ap[other] ?? 2));
}

function inPercent(share, digits) {
  return share === null ? "–" : (100 * share).toFixed(digits);
}

function fillLabelsTable() {
  const body = document.querySelector("#labels-table tbody");
  if (!body) return;
  const row = chosenAnswers();
  const lines = hardestFirst(row).map((at) => {
    const shares = [row.ap, row.f1, row.precision, row.recall].map((values) => inPercent(values[at], 1));
    const cells = [row.support[at].toLocaleString("en"), ...shares];
    return element("tr", {}, element("td", { textContent: row.names[at] }), ...cells.map((text) => element("td", { className: "number", textContent: text })));
  });
  body.replaceChildren(...lines);
}

function labelsChart() {
  const row = chosenAnswers();
  const order = hardestFirst(row);
  const names = order.map((at) => plain(shorten(row.names[at], 24)));
  const percent = (values) => order.map((at) => (values[at] === null ? null : 100 * values[at]));
  const [ap, f1] = [percent(row.ap), percent(row.f1)];
  const ends = order.map((at) => (row.interval[at] || [null, null]).map((end) => (end === null ? null : 100 * end)));
  const bars = {
    type: "bar", orientation: "h", x: ap, y: order.map((_, at) => at), text: order.map((at) => `${inPercent(row.ap[at], 1)} of ${row.support[at].toLocaleString("en")}`),
    textposition: "auto", marker: { color: styleOf("--series-1") },
    error_x: { type: "data", symmetric: false, array: ends.map(([, high], at) => (high === null ? 0 : Math.max(0, high - ap[at]))), arrayminus: ends.map(([low], at) => (low === null ? 0 : Math.max(0, ap[at] - low))), color: styleOf("--muted"), thickness: 1.5, width: 3 },
    hovertemplate: names.map((name) => `${name}: average precision %{x:.2f} %<extra></extra>`),
  };
  const diamonds = {
    type: "scatter", mode: "markers", x: f1, y: order.map((_, at) => at), marker: { symbol: "diamond", size: 9, color: styleOf("--series-2"), line: { width: 1, color: styleOf("--page") } },
    hovertemplate: names.map((name) => `${name}: F1 %{x:.2f} %<extra></extra>`),
  };
  const layout = {
    height: Math.max(220, 110 + names.length * (names.length > 30 ? 14 : 28)), margin: { l: 20, r: 16, t: 36, b: 50 }, showlegend: false,
    xaxis: { range: [0, 101], title: { text: "average precision, and F1 (%)" } }, yaxis: { tickvals: order.map((_, at) => at), ticktext: names, autorange: "reversed", ticks: "" },
  };
  return { traces: [bars, diamonds], layout, note: "The hardest label first, with the number of test images that have it. Bars are average precisions, diamonds F1 where a probability above 0.5 counts. The lines are 95 % intervals for other seeds and other images, each for itself." };
}

function numberPoints(row, y, said) {
  const text = row.target.map((target, at) => `true ${target}, predicted ${row.value[at]}`);
  return { type: "scatter", mode: "markers", x: row.target, y, text, hovertemplate: `%{text}${said}<extra></extra>`, marker: { color: styleOf("--series-1"), size: row.target.length > 400 ? 5 : 7, opacity: 0.6 } };
}

function guide(x, y) {
  return { type: "scatter", mode: "lines", x, y, line: { color: styleOf("--muted"), dash: "dot", width: 1 }, hoverinfo: "skip" };
}

function numbersChart() {
  const row = chosenAnswers();
  const ends = [row.target[0], row.target[row.target.length - 1]];
  const name = plain(shorten(row.name, 40));
  const layout = { height: 420, showlegend: false, xaxis: { title: { text: `true ${name}` } }, yaxis: { title: { text: `predicted ${name}` } } };
  const left = row.predictions > row.target.length ? ` ${row.target.length.toLocaleString("en")} of them are drawn, evenly spread over the true numbers.` : "";
  return { traces: [guide(ends, ends), numberPoints(row, row.value, "")], layout, note: `${row.predictions.toLocaleString("en")} predictions of ${row.runs} runs for ${row.images.toLocaleString("en")} images: MAE ${row.mae}, RMSE ${row.rmse}, R² ${row.r2}, on the average of the runs. On the line, a prediction is right.${left}` };
}

function residualsChart() {
  const row = chosenAnswers();
  const residuals = row.value.map((value, at) => value - row.target[at]);
  const ends = [row.target[0], row.target[row.target.length - 1]];
  const name = plain(shorten(row.name, 40));
  const layout = { height: 420, showlegend: false, xaxis: { title: { text: `true ${name}` } }, yaxis: { title: { text: "predicted minus true" } } };
  return { traces: [guide(ends, [0, 0]), numberPoints(row, residuals, ", off by %{y:.4~g}")], layout, note: "The residuals. A slope means that extremes are drawn towards the mean." };
}
