// The list of trials: sorted by any column, a page at a time.

const PAGE = 25;
const trialsTable = { sort: null, descending: true, page: 0, shown: [] };

function sortTrials() {
  const column = report.column[trialsTable.sort];
  if (!column) return (trialsTable.shown = [...selection.trials]);
  const sign = trialsTable.descending ? -1 : 1;
  const order = column.kind === "category" ? rankLevels(column.levels) : null;
  const key = (trial) => (order ? order[column.values[trial]] : column.values[trial]);
  const missing = (value) => value === null || value === undefined;
  trialsTable.shown = [...selection.trials].sort((one, other) => {
    const [first, second] = [key(one), key(other)];
    if (missing(first) || missing(second)) return missing(first) - missing(second); // without a value: last, both ways
    return sign * (first - second) || one - other;
  });
}

function rankLevels(levels) {
  const sorted = levels.map((_, place) => place).sort((one, other) => compareNaturally(levels[one], levels[other]));
  return sorted.reduce((ranks, level, rank) => ((ranks[level] = rank), ranks), []);
}

function drawTrials() {
  sortTrials();
  const pages = Math.max(1, Math.ceil(trialsTable.shown.length / PAGE));
  trialsTable.page = Math.min(trialsTable.page, pages - 1);
  const start = trialsTable.page * PAGE;
  const body = document.querySelector("#trials-table tbody");
  body.replaceChildren(...trialsTable.shown.slice(start, start + PAGE).map(trialRow));
  document.getElementById("previous").disabled = trialsTable.page === 0;
  document.getElementById("next").disabled = trialsTable.page >= pages - 1;
  document.getElementById("page").textContent = trialsTable.shown.length
    ? `${(start + 1).toLocaleString("en")}–${Math.min(start + PAGE, trialsTable.shown.length).toLocaleString("en")} of ${trialsTable.shown.length.toLocaleString("en")}`
    : "No trial fits the filter.";
  for (const head of document.querySelectorAll("#trials-table th[data-name]")) {
    const sorted = head.dataset.name === trialsTable.sort;
    head.setAttribute("aria-sort", sorted ? (trialsTable.descending ? "descending" : "ascending") : "none");
  }
}

function trialRow(trial) {
  const cells = report.listed.map((name) => {
    const column = report.column[name];
    return element("td", { className: column.kind === "number" ? "number" : "", textContent: cellText(column, trial) });
  });
  const links = element("td", {});
  for (const [text, file] of [["command", report.commandFile], ["log", report.logs.levels[report.logs.values[trial]]]]) {
    if (file) links.append(element("a", { href: runAddress(trial, file), textContent: text }), " ");
  }
  return element("tr", {}, ...cells, links);
}

function runAddress(trial, file) {
  const place = report.places ? report.places[trial] : cellText(report.column.trial, trial);
  return `${report.folder}./${place.split("/").map(encodeURIComponent).join("/")}/${file}`;
}

function startTable() {
  const head = element("tr", {});
  for (const name of report.listed) {
    const column = report.column[name];
    const button = element("button", { type: "button", textContent: column.label });
    const cell = element("th", { scope: "col", className: column.kind === "number" ? "number" : "" }, button);
    cell.dataset.name = name;
    button.addEventListener("click", () => {
      trialsTable.descending = trialsTable.sort === name ? !trialsTable.descending : column.kind === "number";
      Object.assign(trialsTable, { sort: name, page: 0 });
      drawTrials();
    });
    head.append(cell);
  }
  head.append(element("th", { scope: "col", textContent: "files" }));
  document.querySelector("#trials-table thead").append(head);
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    document.getElementById(id).addEventListener("click", () => ((trialsTable.page += step), drawTrials()));
  }
  trialsTable.sort = report.column[report.select] ? report.select : null;
  trialsTable.descending = report.mode === "max";
  selectionListeners.push(drawTrials);
}
