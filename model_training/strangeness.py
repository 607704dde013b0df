"""How strange an image looks to a network: the out-of-distribution score of its features.

The relative Mahalanobis distance of Ren et al. 2021, "A Simple Fix to Mahalanobis Distance for
Improving Near-OOD Detection", eq. 3: the distance of an image's features to the nearest category,
less their distance to all training images taken as one. The second part takes away what is unusual
without being foreign, such as a rare texture.

Light: numpy alone, so that a worker scores with what training wrote.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from tagging.errors import BundleError

METHOD: Final = "relative-mahalanobis"
RIDGE: Final = 1e-3
"""Share of the mean variance that is added to every direction: features that never vary would
otherwise weigh without bound."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Strangeness:
    """What `score` needs. All float64.

    Attributes:
        within: (features, features); whitens features by their spread within the categories.
        centres: (categories, features), the whitened mean of each category.
        overall: (features, features); whitens features by their spread over all images.
        middle: (features,), the whitened mean of all images.
    """

    within: Floats
    centres: Floats
    overall: Floats
    middle: Floats

    def score(self, features: npt.NDArray[np.floating]) -> Floats:
        """(n, features) -> (n,), higher is stranger; no fixed range."""
        wide = features.astype(np.float64)
        near = wide @ self.within  # (n, features)
        to_centres = ((near[:, np.newaxis] - self.centres) ** 2).sum(axis=2)  # (n, categories)
        to_middle = ((wide @ self.overall - self.middle) ** 2).sum(axis=1)  # (n,)
        scores: Floats = to_centres.min(axis=1) - to_middle
        return scores

    def save(self, path: Path) -> None:
        """As an `.npz` of plain arrays."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Strangeness:
        """Raises BundleError for a file that does not hold exactly these arrays."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = {name: arrays[name].astype(np.float64) for name in arrays.files}
            loaded = cls(**found)
        except (OSError, ValueError, TypeError) as error:
            raise BundleError(
                f"{path} does not hold the statistics of '{METHOD}': {error}. Copy the bundle "
                "again, or train it again."
            ) from error
        width = loaded.middle.shape[0]
        shapes = (loaded.within.shape, loaded.overall.shape, loaded.centres.shape[1:])
        if shapes != ((width, width), (width, width), (width,)):
            raise BundleError(
                f"{path} holds arrays of shapes that do not belong together: {shapes}"
            )
        return loaded


def fit(features: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> Strangeness:
    """From training images: features (n, features) and labels (n,), 0 to categories - 1.

    Every category must have at least one image.
    """
    wide = features.astype(np.float64)
    categories = int(labels.max()) + 1
    means = np.stack([wide[labels == c].mean(axis=0) for c in range(categories)])
    within = _whitening(wide - means[labels])
    overall = _whitening(wide - wide.mean(axis=0))
    return Strangeness(
        within=within,
        centres=means @ within,
        overall=overall,
        middle=wide.mean(axis=0) @ overall,
    )


def _whitening(centred: Floats) -> Floats:
    """W (features, features) with |x W|^2 = x' C^-1 x, C the covariance of `centred`, ridged."""
    covariance = centred.T @ centred / len(centred)
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    whitening: Floats = np.linalg.cholesky(np.linalg.inv(covariance))
    return whitening
