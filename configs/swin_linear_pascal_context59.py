# Swin-Base, frozen, one-layer head on Pascal Context.
# Weights: --cfg-options checkpoint=FILE, the result of swin_imagenet.py or a published Swin.
_base_ = [
    '_base_/models/swin_linear.py', '_base_/datasets/pascal_context59.py', '_base_/schedules/linear_20k.py',
    '_base_/runtime_mmseg.py'
]
checkpoint = None
model = dict(data_preprocessor=dict(size=_base_.crop_size), decode_head=dict(num_classes=_base_.num_classes))
train_dataloader = dict(batch_size=_base_.auto_scale_lr.base_batch_size // 8)  # on 8 GPUs
