// Tables that stand in the page: a click on a head sorts the rows in place.

function startSorting() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.querySelectorAll("th")];
    heads.forEach((head, place) => {
      head.setAttribute("aria-sort", "none");
      const button = head.querySelector("button");
      if (button) button.addEventListener("click", () => sortRows(table, heads, place));
    });
  }
}

function sortRows(table, heads, place) {
  const descending = heads[place].getAttribute("aria-sort") !== "descending";
  heads.forEach((head, other) => head.setAttribute("aria-sort", other === place ? (descending ? "descending" : "ascending") : "none"));
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((one, other) => {
    const [first, second] = [one.cells[place].dataset.value, other.cells[place].dataset.value];
    if (!first || !second) return (first === "") - (second === "");
    return (descending ? -1 : 1) * (Number.isNaN(first - second) ? compareNaturally(first, second) : first - second);
  });
  body.append(...rows);
}
