// Puts the page together.

startChoice();
startBins();
startSorting();
startFigures();
startGallery();
choiceListeners.push(() => refreshFigures(false));
addFigure("counts-chart", countsChart);
addFigure("zones-chart", zonesChart, true);
