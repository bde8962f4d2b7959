// Puts the page together.

startSelection();
startTable();
startSorting();
startFigures({ colours: drawParallel, widths: layOutParallel });
let refreshing = 0;
selectionListeners.push(() => {
  clearTimeout(refreshing);
  refreshing = setTimeout(() => refreshFigures(false), 200); // a brush that moves on is drawn first
});
startCurves();
startAnswers();
startParallel();
addFigure("estimates-chart", estimatesChart, true);
addFigure("created-chart", createdChart);
addFigure("importance-chart", importanceChart, true);
addFigure("curves-chart", curvesChart);
addFigure("slices-chart", slicesChart);
addFigure("minutes-chart", () => costChart(report.column.minutes_alone ? "minutes_alone" : "minutes"));
addFigure("parameters-chart", () => costChart("parameters"));
addFigure("budget-chart", budgetChart, true);
addFigure("confusion-chart", confusionChart, true);
addFigure("class-accuracy-chart", classAccuracyChart, true);
addFigure("roc-chart", rocChart, true);
addFigure("labels-chart", labelsChart, true);
addFigure("numbers-chart", numbersChart, true);
addFigure("residuals-chart", residualsChart, true);
history.scrollRestoration = "manual";
const keptPlace = takePlace();
select();
if (keptPlace) returnTo(keptPlace);
startLive(keptPlace);
