"use strict";
// What every page needs: its data, and texts and elements made of it.

const report = JSON.parse(document.getElementById("report-data").textContent);

// Plotly reads tags in texts, and run directories come from strangers.
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function shorten(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

function styleOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function compareNaturally(one, other) {
  return one.localeCompare(other, "en", { numeric: true });
}

// At most `most` of the list, evenly spread, the first and the last among them.
function spread(list, most) {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, place) => list[Math.round((place * (list.length - 1)) / (most - 1))]);
}
