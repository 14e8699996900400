# Retrofit: DINO's ViT-Small becomes a LocAtViT, which begins as what it was; UperNet, full fine-tuning on ADE20K.
_base_ = './vit-small_upernet_ade20k.py'
checkpoint = 'https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth'
model = dict(
    # DINO was trained with ImageNet's normalisation.
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(gaug=True, gaug_init='identity', init_cfg=dict(type='Pretrained', checkpoint=checkpoint)))
# Alpha begins at softplus(-10), where its gradient vanishes: by the rate of the others it stays there.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.gaug.log_alpha.bias': dict(lr_mult=100., decay_mult=0.)}))
