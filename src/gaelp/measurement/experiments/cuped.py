"""CUPED: take out of a response what was known of each unit before the experiment.

With the covariates' slope `theta = cov(x, x)^-1 cov(x, y)`, both arms together, `y - theta (x - mean x)` has
the same mean as y and a variance smaller by the factor `1 - R^2`; with one covariate that is 1 - corr^2. What
an ad may have moved must not be a covariate.

Source: Deng, Xu, Kohavi & Walker, WSDM 2013, section 3.2.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gaelp.core.errors import BadInput
from gaelp.measurement.experiments.ab import Floats


class Adjusted(NamedTuple):
    """Responses with the covariates' part taken out.

    Attributes:
        response: (n,) adjusted, same mean as before.
        variance_ratio: variance left over variance before.
    """

    response: Floats
    variance_ratio: float


def cuped(response: ArrayLike, covariates: ArrayLike) -> Adjusted:
    """Take the covariates' part out of a response.

    Args:
        response: (n,) one number a unit, all arms together.
        covariates: (n,) or (n, k) known before the experiment, same units.

    Raises:
        BadInput: if shapes disagree, a number is not finite, or a response or covariate does not vary.

    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> found = cuped([1.1, 1.9, 3.2, 3.8], x)
    >>> round(found.variance_ratio, 4), round(1 - float(np.corrcoef(x, [1.1, 1.9, 3.2, 3.8])[0, 1]) ** 2, 4)
    (0.0182, 0.0182)
    """
    y, x = np.asarray(response, float), np.asarray(covariates, float)
    x = x[:, None] if x.ndim == 1 else x
    if y.ndim != 1 or x.ndim != 2 or len(x) != y.size or y.size < 2:
        shapes = (y.shape, x.shape)
        raise BadInput("covariates", shapes, "must be one row a unit, at least two", "Pass the same units.")
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise BadInput("covariates", "NaN or infinity", "must be finite", "Give 0 to units not seen before.")
    if not (y.var() > 0 and (x.var(axis=0) > 0).all()):
        raise BadInput("covariates", "a constant", "must vary, and so must the response", "Leave it out.")
    centred = x - x.mean(axis=0)
    slope = np.linalg.lstsq(centred, y - y.mean(), rcond=None)[0]
    adjusted = y - np.einsum("ij,j->i", centred, slope)
    return Adjusted(adjusted, float(adjusted.var() / y.var()))
