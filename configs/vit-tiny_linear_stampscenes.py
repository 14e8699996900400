# ViT-Tiny, frozen, one-layer head on StampScenes, for weights from ImageNet: scenes at twice their size.
# Weights: --cfg-options checkpoint=FILE, the result of vit-tiny_imagenet.py, or timm://deit_tiny_patch16_224.fb_in1k.
_base_ = [
    '_base_/models/vit_linear.py', '_base_/datasets/stampscenes_seg.py', '_base_/schedules/digitscenes_seg.py',
    '_base_/runtime_mmseg.py'
]
checkpoint = None
model = dict(_base_.by_size.tiny, data_preprocessor=dict(size=(256, 256)))
model['decode_head'] = dict(model['decode_head'], num_classes=_base_.num_classes)
# Labels stay as they are in tests, and are enlarged with the picture in training.
_enlarge = dict(type='Resize', scale=(256, 256), keep_ratio=True)
_load, _labels, _pack = _base_.test_pipeline
train_dataloader = dict(dataset=dict(pipeline=[_load, _labels, _enlarge, _pack]))
test_pipeline = [_load, _enlarge, _labels, _pack]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
