# ViT-Small, DINO on ImageNet-1K, the paper's recipe: the baseline arm. The teacher's weights go to teacher.pth.
_base_ = [
    '_base_/models/dino.py', '_base_/datasets/imagenet_dino.py', '_base_/schedules/dino_100e.py',
    '_base_/runtime_mmpretrain.py'
]
