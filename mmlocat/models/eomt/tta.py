"""Averages the views of test-time augmentation where a model gives probabilities, not logits."""

from __future__ import annotations

from typing import Any, List

import torch
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample


@MODELS.register_module()
class ScoreTTAModel(BaseTTAModel):
    """Averages scores as they are; MMSegmentation's ``SegTTAModel`` takes their softmax first, which is for logits.

    EoMT's scores are sums of probabilities over queries: their softmax is all but flat.
    """

    def merge_preds(self, data_samples_list: List[List[Any]]) -> List[SegDataSample]:
        """Returns one prediction for the views of each image, which all have the size and place of the image itself."""
        merged = []
        for views in data_samples_list:
            sample = views[0]
            scores = torch.stack([view.seg_logits.data for view in views]).mean(dim=0)
            labels = scores.argmax(dim=0, keepdim=True)
            sample.set_data(dict(seg_logits=PixelData(data=scores), pred_sem_seg=PixelData(data=labels)))
            merged.append(sample)
        return merged
