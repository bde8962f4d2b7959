// Which trials are shown: the filter's conditions and the brushes of the parallel coordinates; and how they are coloured.

const MOST_COLOURS = 7;
const selection = { text: report.filter, ranges: {}, colour: "outcome", trials: Array.from({ length: report.count }, (_, trial) => trial) };
const selectionListeners = [];

const COMPARE = {
  "=": (one, other) => one === other,
  "!=": (one, other) => one !== other,
  "<": (one, other) => one < other,
  "<=": (one, other) => one <= other,
  ">": (one, other) => one > other,
  ">=": (one, other) => one >= other,
};

// A test of a trial for one word of the filter. Throws with what is wrong with it.
function condition(word) {
  const parts = word.match(/^([A-Za-z]\w*)(<=|>=|!=|=|<|>)(.*)$/);
  if (!parts) return anyText(word.toLowerCase());
  const [, name, sign, wanted] = parts;
  const column = report.column[name];
  if (!column) throw new Error(`no column ${name}: ${report.columns.map((one) => one.name).join(", ")}`);
  if (column.kind === "category") {
    if (sign !== "=" && sign !== "!=") throw new Error(`${name} is text: = or !=, not ${sign}`);
    const levels = column.levels.map((level) => COMPARE[sign](level.toLowerCase(), wanted.toLowerCase()));
    return (trial) => levels[column.values[trial]];
  }
  const number = Number(wanted);
  if (wanted === "" || Number.isNaN(number)) throw new Error(`${name} is a number, and ${wanted || "nothing"} is none`);
  const value = (trial) => Number((column.values[trial] * (column.scale || 1)).toPrecision(6));
  return (trial) => column.values[trial] !== null && COMPARE[sign](value(trial), number);
}

function anyText(word) {
  const columns = report.columns.filter((column) => column.kind === "category");
  const hits = columns.map((column) => column.levels.map((level) => level.toLowerCase().includes(word)));
  return (trial) => columns.some((column, place) => hits[place][column.values[trial]]);
}

// The place of a trial on a column's axis, 0 at the bottom and 1 at the top; null where it has no value.
function placeOn(axis, trial) {
  const value = axis.column.values[trial];
  if (value === null || value === undefined) return null;
  if (axis.column.steps) return axis.steps.get(value) ?? null;
  if (axis.column.kind === "category") return axis.order[value];
  return (axis.scaled(value) - axis.low) / (axis.high - axis.low);
}

function select() {
  const problem = document.getElementById("filter-problem");
  const words = selection.text.trim().split(/\s+/).filter(Boolean);
  let conditions = [];
  problem.textContent = "";
  try {
    conditions = words.map(condition);
  } catch (error) {
    problem.textContent = error.message;
  }
  document.getElementById("filter").setAttribute("aria-invalid", String(problem.textContent !== ""));
  const brushes = Object.entries(selection.ranges).map(([name, range]) => [parallelAxes.find((axis) => axis.column.name === name), range]);
  selection.trials = [];
  for (let trial = 0; trial < report.count; trial++) {
    const brushed = brushes.every(([axis, [low, high]]) => {
      const place = placeOn(axis, trial);
      return place !== null && place >= low - 1e-9 && place <= high + 1e-9;
    });
    if (brushed && conditions.every((holds) => holds(trial))) selection.trials.push(trial);
  }
  const shown = selection.trials.length.toLocaleString("en");
  document.getElementById("selected").textContent = `${shown} of ${report.count.toLocaleString("en")} trials`;
  selectionListeners.forEach((listener) => listener());
}

// The groups of the colouring: [{name, colour, trials}], of the given trials.
function coloured(trials) {
  const column = report.column[selection.colour] || report.column.outcome;
  const names = new Map();
  for (let trial = 0; trial < report.count; trial++) {
    const name = cellText(column, trial);
    names.set(name, (names.get(name) || 0) + 1);
  }
  const frequent = [...names].sort((one, other) => other[1] - one[1]).slice(0, MOST_COLOURS - (names.size > MOST_COLOURS ? 1 : 0));
  const kept = frequent.map(([name]) => name).sort(compareNaturally);
  const groups = new Map(kept.map((name, place) => [name, { name, colour: styleOf(`--series-${place + 1}`), trials: [] }]));
  const others = { name: `${names.size - kept.length} others`, colour: styleOf(`--series-${MOST_COLOURS}`), trials: [] };
  for (const trial of trials) (groups.get(cellText(column, trial)) || others).trials.push(trial);
  return [...groups.values(), others].filter((group) => group.trials.length);
}

function startSelection() {
  const filter = document.getElementById("filter");
  const colour = document.getElementById("colour");
  let waiting = 0;
  filter.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => ((selection.text = filter.value), select()), 150);
  });
  document.getElementById("toolbar").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("clear").addEventListener("click", () => {
    filter.value = selection.text = "";
    selection.ranges = {};
    select();
  });
  for (const name of report.colours) colour.append(element("option", { value: name, textContent: name }));
  selection.colour = report.colours[0];
  filter.value = selection.text;
  colour.value = selection.colour;
  colour.addEventListener("change", () => ((selection.colour = colour.value), select()));
}
