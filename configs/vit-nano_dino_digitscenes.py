# The demo's ViT, pretrained by DINO on DigitScenes in minutes: a miniature of vit-small_dino_imagenet.py.
_base_ = [
    '_base_/models/dino.py', '_base_/models/nano.py', '_base_/datasets/digitscenes_dino.py',
    '_base_/schedules/dino_digitscenes.py', '_base_/runtime_mmpretrain.py'
]
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=_base_.nano,
    head=dict(in_channels=64, num_prototypes=256, hidden_channels=128, bottleneck_channels=64))
