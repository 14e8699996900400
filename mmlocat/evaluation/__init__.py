"""Evaluates features without training a head, by k-NN and dense retrieval (Hummingbird), and contours of label maps.

``custom_imports = dict(imports=['mmlocat.evaluation'])`` in a config registers the loops, transforms and metrics.
"""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.evaluation')

from .boundary import BoundaryIoU, boundary_areas  # noqa: E402
from .hummingbird import Memory, build_memory, label_distributions, retrieve  # noqa: E402
from .knn import knn_scores  # noqa: E402
from .loops import KNNLoop, RetrievalLoop  # noqa: E402
from .metrics import KNNAccuracy, RetrievalIoU  # noqa: E402
from .neighbours import nearest  # noqa: E402
from .transforms import RetrievalTransform  # noqa: E402

__all__ = [
    'BoundaryIoU', 'KNNAccuracy', 'KNNLoop', 'Memory', 'RetrievalIoU', 'RetrievalLoop', 'RetrievalTransform',
    'boundary_areas', 'build_memory', 'knn_scores', 'label_distributions', 'nearest', 'retrieve'
]
