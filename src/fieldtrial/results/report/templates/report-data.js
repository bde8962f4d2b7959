// The trials of the report, and how their numbers are written.

report.column = Object.fromEntries(report.columns.map((column) => [column.name, column]));
report.count = report.columns[0].values.length;
const NOTHING = "–";

function formatNumber(number, column) {
  if (number === null || number === undefined || Number.isNaN(number)) return NOTHING;
  if (column.time) return new Date(number).toISOString().slice(0, 16).replace("T", " ");
  const value = number * (column.scale || 1);
  if (column.scale === 100) return value.toFixed(2);
  if (column.whole) return Math.abs(value) >= 10000 && column.name !== "seed" ? value.toLocaleString("en") : String(value);
  return String(Number(value.toPrecision(3)));
}

// What a trial's cell of a column says.
function cellText(column, trial) {
  const value = column.values[trial];
  return column.kind === "category" ? column.levels[value] : formatNumber(value, column);
}

// Names of rows often begin alike: their middle is left out.
function shortenName(text, most) {
  const end = Math.ceil(0.65 * (most - 1));
  return text.length > most ? `${text.slice(0, most - 1 - end)}…${text.slice(-end)}` : text;
}

// The trials in order of the metric that selects, worst first; those without one are left out.
function byRank(trials) {
  const values = report.column[report.select] ? report.column[report.select].values : [];
  const sign = report.mode === "max" ? 1 : -1;
  return trials.filter((trial) => Number.isFinite(values[trial])).sort((one, other) => sign * (values[one] - values[other]));
}

function trialLabel(trial) {
  const select = report.column[report.select];
  const value = select ? `${report.selectLabel} ${formatNumber(select.values[trial], select)}` : "";
  const searched = report.searched.map((name) => `${name}=${cellText(report.column[name], trial)}`).join(" ");
  const lines = [cellText(report.column.trial, trial), cellText(report.column.row, trial), searched, value, cellText(report.column.outcome, trial)];
  return lines.filter(Boolean).map((line) => plain(shorten(line, 90))).join("<br>");
}
