"""How much a trial may improve on the best one."""

import numpy as np

SQRT2PI = (2 * np.pi) ** 0.5
FAR = -25.0  # deviations from the best: from there on the first term of the series is enough


def log_expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """Return the logarithm of the expected improvement on `best`, where more is better.

    Far below `best` the improvement itself is zero in floating point, and all such candidates would
    be equal. Its logarithm tells them apart (Ament et al. 2023), with the asymptotic series there.
    """
    from scipy.special import log_ndtr

    z = (mean - best) / deviation
    near = np.clip(z, FAR, -FAR)
    log_density = -0.5 * z**2 - np.log(SQRT2PI)
    ratio = np.exp(log_ndtr(near) + 0.5 * near**2 + np.log(SQRT2PI))  # distribution over density
    series = np.where(z < FAR, 1 / np.minimum(z, FAR) ** 2, 1 + near * ratio)
    # Far above `best` the improvement is the difference itself.
    scaled = np.where(z > -FAR, np.log(np.maximum(z, 1)), log_density + np.log(series))
    return np.asarray(scaled + np.log(deviation))
