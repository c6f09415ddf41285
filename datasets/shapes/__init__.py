"""The bundled benchmark: classes, figures, the renderer, and the data sets made of them."""

from datasets.shapes import dataset, outliers  # noqa: F401 - registers the data sets and outliers
