// Which crossings are shown: of which video, line, direction and class.

const DIRECTIONS = ["right", "left"];
const ARROWS = ["→", "←"];
const ALL = "all";
const choice = { video: ALL, line: ALL, direction: ALL, class: ALL };
const choiceListeners = [];

// Whether the entry at a place of columns is of what is chosen.
function isChosen(columns, at) {
  return Object.entries(choice).every(([name, wanted]) => wanted === ALL || columns[name][at] === wanted);
}

function chosenPlaces(columns) {
  return columns.video.map((_, at) => at).filter((at) => isChosen(columns, at));
}

// 1:02:03.4, or 1:02:03 without tenths.
function clock(seconds, tenths = true) {
  const whole = tenths ? Math.round(10 * seconds) : 10 * Math.round(seconds);
  const pad = (number) => String(number).padStart(2, "0");
  const text = `${Math.floor(whole / 36000)}:${pad(Math.floor(whole / 600) % 60)}:${pad(Math.floor(whole / 10) % 60)}`;
  return tenths ? `${text}.${whole % 10}` : text;
}

function offerChoice(name, all, texts) {
  const select = document.getElementById(`choose-${name}`);
  if (!select) return;
  select.append(element("option", { value: ALL, textContent: all }));
  texts.forEach((text, at) => {
    if (text !== null) select.append(element("option", { value: String(at), textContent: shorten(text, 60) }));
  });
  select.addEventListener("change", () => {
    choice[name] = select.value === ALL ? ALL : Number(select.value);
    for (const listener of choiceListeners) listener();
  });
}

function startChoice() {
  const counted = new Set(report.counts.columns.class);
  offerChoice("video", "all videos", report.videos);
  offerChoice("line", "all lines", report.lines);
  offerChoice("direction", "both", DIRECTIONS.map((name, at) => `${ARROWS[at]} ${name}`));
  offerChoice("class", "all classes", report.classes.map((name, at) => (counted.has(at) ? name : null)));
}
