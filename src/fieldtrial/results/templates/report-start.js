// Puts the page together.

startSelection();
startTable();
startSorting();
startFigures();
startCurves();
startClasses();
startParallel();
addFigure("estimates-chart", estimatesChart);
addFigure("created-chart", createdChart);
addFigure("importance-chart", importanceChart);
addFigure("curves-chart", curvesChart);
addFigure("slices-chart", slicesChart);
addFigure("minutes-chart", () => costChart("minutes"));
addFigure("parameters-chart", () => costChart("parameters"));
addFigure("confusion-chart", confusionChart);
addFigure("class-accuracy-chart", classAccuracyChart);
addFigure("roc-chart", rocChart);
history.scrollRestoration = "manual";
const keptPlace = takePlace();
select();
if (keptPlace) returnTo(keptPlace);
startLive();
