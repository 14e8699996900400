# Linear probe of the ViT-Small that DINO has pretrained: --cfg-options checkpoint=FILE, that training's teacher.pth or
# last checkpoint. Its number is that of the best epoch, best_accuracy_top1_epoch_N.pth in the work dir.
_base_ = [
    '_base_/models/dino_linear.py', '_base_/datasets/imagenet_probe.py', '_base_/schedules/dino_linear_100e.py',
    '_base_/runtime_mmpretrain.py'
]
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1', rule='greater'))
