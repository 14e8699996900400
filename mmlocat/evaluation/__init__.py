"""Evaluates features without training a head: k-NN classification and dense retrieval (Hummingbird).

``custom_imports = dict(imports=['mmlocat.evaluation'])`` in a config registers the loops, transforms and metrics.
"""

from mmlocat.utils import require_openmmlab

require_openmmlab('mmlocat.evaluation')

from .hummingbird import Memory, build_memory, label_distributions, retrieve  # noqa: E402
from .knn import knn_scores  # noqa: E402
from .loops import KNNLoop, RetrievalLoop  # noqa: E402
from .metrics import KNNAccuracy, RetrievalIoU  # noqa: E402
from .neighbours import nearest  # noqa: E402
from .transforms import RetrievalTransform  # noqa: E402

__all__ = [
    'KNNAccuracy', 'KNNLoop', 'Memory', 'RetrievalIoU', 'RetrievalLoop', 'RetrievalTransform', 'build_memory',
    'knn_scores', 'label_distributions', 'nearest', 'retrieve'
]
