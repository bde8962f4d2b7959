"""Which difference a design can show: so many seeds, so many test images, so many comparisons."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

POWER = 0.8
LEVEL = 0.05  # of all comparisons of a table together
# What is assumed of rows before any has run: about what the reports' small data sets gave.
ACCURACY = 0.9
SHARED_ERRORS = 0.5  # of a row's wrong answers, those that another row has wrong too
HALVINGS = 60  # of the range in which a multiple is looked for
MOST_TIMES = 1000.0  # as many images or seeds: more are of no use to anybody
SEED_DEVIATION = 0.005  # of the accuracy, from one seed to the next on all images together


@dataclass(frozen=True)
class Design:
    """What a difference of two rows varies with.

    images: its variance through test images, with so many of them. seeds: through seeds, with so
    many runs of each row. comparisons: made together. freedom: degrees of freedom of the variance.
    """

    images: float
    seeds: float
    comparisons: int
    freedom: float = math.inf

    def detectable(self, more_images: float = 1.0, more_seeds: float = 1.0) -> float:
        """Return the difference that is shown in 80 % of cases, in the metric's unit.

        more_images, more_seeds: as multiples of the design's. The level of each comparison is Z.
        Sidak's (Journal of the American Statistical Association 62, 1967): a little too strict for
        comparisons that share a row.
        """
        level = 1 - (1 - LEVEL) ** (1 / self.comparisons)
        freedom = self.freedom * more_seeds
        critical = _quantile(freedom, 1 - level / 2) + NormalDist().inv_cdf(POWER)
        return critical * math.sqrt(self.images / more_images + self.seeds / more_seeds)

    def images_for(self, difference: float) -> float | None:
        """Return how many times the images show `difference` with these seeds, None if none do."""
        return _multiple(lambda times: self.detectable(more_images=times), difference)

    def seeds_for(self, difference: float) -> float | None:
        """Return how many times the seeds show `difference` on these images, None if none do."""
        return _multiple(lambda times: self.detectable(more_seeds=times), difference)


def _multiple(detectable: Callable[[float], float], difference: float) -> float | None:
    """Return the least multiple with which `difference` is detectable."""
    least, most = -math.log(MOST_TIMES), math.log(MOST_TIMES)
    if detectable(math.exp(most)) > difference:
        return None
    for _ in range(HALVINGS):  # what is detectable falls as the multiple grows
        middle = (least + most) / 2
        if detectable(math.exp(middle)) > difference:
            least = middle
        else:
            most = middle
    return math.exp(most)


def _quantile(freedom: float, chance: float) -> float:
    """Return the quantile of Student's distribution; with infinite freedom, of the normal one."""
    if math.isinf(freedom):
        return NormalDist().inv_cdf(chance)
    from scipy import special  # late: a dry run, which needs none, would wait for it

    return float(special.stdtrit(freedom, chance))


def fold_factor(folds: int) -> float:
    """Return what the variance from fold to fold is multiplied by, for that of the folds' mean.

    It is 1 / folds and the size of the tested part over that of the trained one, because trainings
    on images that they share are alike (C. Nadeau, Y. Bengio, "Inference for the Generalization
    Error", Machine Learning 52, 2003).
    """
    return 1 / folds + 1 / (folds - 1)


def assumed(images: int, seeds: float, comparisons: int) -> Design:
    """Return the design of a sweep before anything has run."""
    differing = 2 * ACCURACY * (1 - ACCURACY) * (1 - SHARED_ERRORS)
    return Design(differing / images, 2 * SEED_DEVIATION**2 / seeds, comparisons)
