"""Loads the weights of a bare ViT, or of DINO's teacher, into a whole model by ``load_from``."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmlocat.checkpoints.names import unwrapped
from mmlocat.models.backbones.protocol import find_backbone
from mmlocat.models.building import weights_for


@HOOKS.register_module()
class BareViTHook(Hook):
    """Lets ``load_from`` load the weights of a bare ViT, or of DINO's teacher, into a model with a LocAt backbone.

    MMEngine gives a backbone only those entries that begin with 'backbone.', so the backbone cannot translate them
    itself. A head under timm's names becomes that of a classifier. Weights of any model lose the prefixes of wrappers,
    of which MMEngine takes off one 'module.' alone. ``CheckedRunner`` registers it; for another Runner, put
    ``custom_hooks = [dict(type='BareViTHook')]`` and ``custom_imports = dict(imports=['mmlocat.training'])`` into the
    config.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Renames the weights in place, if no name begins with 'backbone.', or takes the teacher out of a DINO's."""
        weights = checkpoint.get('state_dict', checkpoint)
        backbone = find_backbone(runner.model)
        if not hasattr(backbone, 'in_classifier'):  # no LocAt backbone, or one that does not derive from LocAtBase
            if unwrapped(weights) is not weights:
                checkpoint['state_dict'] = unwrapped(weights)
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        taken = weights_for(model, weights)
        if taken is not weights:
            runner.logger.info("The checkpoint is of DINO: the backbone takes its teacher's weights.")
            checkpoint['state_dict'] = taken
            return
        renamed = type(weights)(backbone.in_classifier(weights))
        if renamed.keys() == weights.keys():
            return
        if hasattr(weights, '_metadata'):  # PyTorch's, of each module
            renamed._metadata = weights._metadata
        if weights is checkpoint:
            checkpoint.clear()
        checkpoint['state_dict'] = renamed
