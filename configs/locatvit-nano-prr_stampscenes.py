# Ablation: PRR alone, on a plain backbone.
_base_ = './vit-nano_stampscenes.py'
model = dict(backbone=dict(out_type='raw'), neck=dict(type='PatchRefinement', num_heads=2))
