# Retrofit: as locatvit-deit_upernet_ade20k.py, but of DINOv2's ViT-Base with patches of 14 px. Of its weights with
# registers (dinov2_vitb14_reg4_pretrain.pth): --cfg-options checkpoint=FILE model.backbone.num_registers=4.
_base_ = './locatvit-deit_upernet_ade20k.py'
checkpoint = 'https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth'
crop_size = (518, 518)  # whole patches
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        img_size=518, patch_size=14, layer_scale_init_value=1e-5, init_cfg=dict(checkpoint=checkpoint)))
train_dataloader = dict(
    dataset=dict(pipeline=[
        dict(step, crop_size=crop_size) if step['type'] == 'RandomCrop' else step for step in _base_.train_pipeline
    ]))
