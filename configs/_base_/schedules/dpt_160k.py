# mmseg's dpt_vit-b16_8xb2-160k_ade20k-512x512.py: UperNet's schedule, but all layers learn at one rate.
_base_ = './upernet_160k.py'
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.))
