# Dense retrieval on DigitScenes from the patches of the demo's ViT with rotary position embedding.
# Test it with the checkpoint of vit-nano-rope_digitscenes.py.
_base_ = './vit-nano_hummingbird_digitscenes.py'
model = dict(backbone=_base_.nano_rope)
