# Retrofit: as locatvit-deit_upernet_ade20k.py, but of the visual tower of OpenAI's CLIP, a ViT-Base with a norm before
# its blocks and QuickGELU in them.
_base_ = './locatvit-deit_upernet_ade20k.py'
checkpoint = 'timm://vit_base_patch16_clip_224.openai'
model = dict(
    data_preprocessor=dict(mean=[122.771, 116.746, 104.094], std=[68.501, 66.632, 70.323]),  # CLIP's
    backbone=dict(
        pre_norm=True,
        patch_cfg=dict(bias=False),
        norm_cfg=dict(type='LN', eps=1e-5),
        layer_cfgs=dict(act_cfg=dict(type='mmpretrain.QuickGELU')),
        init_cfg=dict(checkpoint=checkpoint)))
