# Ablation: ViT-Base + GAP: the mean over patches instead of the class token.
# The class token stays among the tokens; the norm comes after the mean, as in timm's global_pool='avg'.
_base_ = './vit_imagenet.py'
model = dict(backbone=dict(out_type='avg_featmap', final_norm=False))
