# ViT-Base with UperNet on ADE20K, full fine-tuning. Batch 16 on 8 GPUs.
# Weights: --cfg-options checkpoint=FILE, the result of vit_imagenet.py (none are published).
_base_ = [
    '_base_/models/vit_upernet.py', '_base_/datasets/ade20k.py', '_base_/schedules/upernet_160k.py',
    '_base_/runtime_mmseg.py'
]
checkpoint = None
model = dict(data_preprocessor=dict(size=_base_.crop_size))
default_hooks = dict(checkpoint=dict(interval=16000))
