# Retrofit: as locatvit-deit_upernet_ade20k.py, but of MAE's ViT-Base, whose weights have seen no labels.
_base_ = './locatvit-deit_upernet_ade20k.py'
checkpoint = 'https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth'
model = dict(backbone=dict(drop_path_rate=0.1, init_cfg=dict(checkpoint=checkpoint)))
# As in mmseg's mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py, and so is the drop path.
optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=0.05), paramwise_cfg=dict(layer_decay_rate=0.65))
