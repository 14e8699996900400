# LocAtViT-Base with UperNet on ADE20K, full fine-tuning from the published weights.
_base_ = './vit_upernet_ade20k.py'
checkpoint = 'hf://sinahmr/locatvit_base'
model = dict(backbone=dict(gaug=True, init_cfg=dict(type='Pretrained', checkpoint=checkpoint)))
