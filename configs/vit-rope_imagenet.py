# ViT-Base with rotary position embedding (mixed frequencies) on ImageNet-1K: the baseline arm of the paper's RoPE rows.
_base_ = [
    '_base_/models/vit_classifier.py', '_base_/datasets/imagenet_normalised.py', '_base_/schedules/imagenet_300e.py',
    '_base_/runtime_mmpretrain.py'
]
model = dict(
    backbone=dict(rope='mixed', with_pos_embed=False, layer_scale_init_value=1e-5),
    head=dict(
        num_classes=_base_.data_preprocessor.num_classes,
        init_cfg=dict(std=2e-5)),  # a thousandth of the others'
    train_cfg=_base_.batch_augments)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.rope.freqs': dict(decay_mult=0.)}))
