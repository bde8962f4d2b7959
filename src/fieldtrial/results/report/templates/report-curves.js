// Learning curves: unpacked from 16 bits a value when they are first looked at.

const NO_VALUE = 65535;
const curvesMetric = { name: null, unpacked: new Map() };

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

function unpackCurve(metric) {
  if (!curvesMetric.unpacked.has(metric.name)) curvesMetric.unpacked.set(metric.name, new Uint16Array(bytesOf(metric.data)));
  return curvesMetric.unpacked.get(metric.name);
}

// The epoch of a curve's value at a place: without gaps, epochs count from the curve's first.
function epochAt(curve, at) {
  if (!report.curves.epoch) return report.curves.start[curve] + at - report.curves.first[curve];
  report.curves.epochs ??= new Int32Array(bytesOf(report.curves.epoch));
  return report.curves.epochs[at];
}

function curveValue(metric, code) {
  if (code === NO_VALUE) return null;
  const value = metric.low + (code / (NO_VALUE - 1)) * (metric.high - metric.low);
  return (metric.log ? 10 ** value : value) * metric.scale;
}

function curvesChart() {
  const metric = report.curves.metrics.find((one) => one.name === curvesMetric.name);
  if (!metric) return { empty: "No epoch has been recorded yet." };
  const { first, curve } = report.curves;
  const recorded = selection.trials.filter((trial) => first[curve[trial] + 1] > first[curve[trial]]);
  const ranked = byRank(recorded);
  const rest = recorded.filter((trial) => !ranked.includes(trial));
  const shown = spread([...rest.slice(0, MOST_CURVES), ...ranked], MOST_CURVES);
  if (!shown.length) return { empty: NO_TRIAL };
  const codes = unpackCurve(metric);
  const [stopsX, stopsY, stopsText] = [[], [], []];
  const traces = coloured(shown).map((group) => {
    const [x, y, text] = [[], [], []];
    for (const trial of group.trials) {
      const [start, end] = [first[curve[trial]], first[curve[trial] + 1]];
      for (let at = start; at < end; at++) {
        x.push(epochAt(curve[trial], at));
        y.push(curveValue(metric, codes[at]));
        text.push(trialLabel(trial));
      }
      if (cellText(report.column.outcome, trial) === "stopped early") {
        stopsX.push(epochAt(curve[trial], end - 1));
        stopsY.push(curveValue(metric, codes[end - 1]));
        stopsText.push(trialLabel(trial));
      }
      x.push(null);
      y.push(null);
      text.push("");
    }
    const line = { color: group.colour, width: shown.length > 40 ? 1 : 1.6 };
    return { type: "scatter", mode: "lines", name: plain(shorten(group.name, 40)), x, y, text, line, opacity: 0.75, hovertemplate: "%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>" };
  });
  if (stopsX.length) {
    const marker = { symbol: "x-thin", size: 7, line: { width: 1.6, color: styleOf("--text") } };
    traces.push({ type: "scatter", mode: "markers", name: "stopped early here", x: stopsX, y: stopsY, text: stopsText, marker, hovertemplate: "%{text}<extra></extra>" });
  }
  const said = shown.length < recorded.length ? `${shown.length} of ${recorded.length.toLocaleString("en")} curves shown, evenly spread over the ranking, the best and the worst among them; filter or brush to see others. ` : "";
  const left = report.curves.left_out.length ? `Left out for size: ${report.curves.left_out.join(", ")}.` : "";
  return { traces, layout: { xaxis: { title: { text: "epoch" } }, yaxis: { title: { text: plain(metric.label) }, type: metric.log ? "log" : "linear" } }, note: said + left };
}

function startCurves() {
  const chosen = document.getElementById("curves-metric");
  for (const metric of report.curves.metrics) chosen.append(element("option", { value: metric.name, textContent: metric.label }));
  curvesMetric.name = report.curves.metrics.length ? report.curves.metrics[0].name : null;
  chosen.addEventListener("change", () => ((curvesMetric.name = chosen.value), refreshFigures(false)));
}
