# Dense retrieval on DigitScenes from the patches of the demo's LocAtViT with rotary position embedding.
# Test it with the checkpoint of locatvit-nano-rope_digitscenes.py.
_base_ = './vit-nano-rope_hummingbird_digitscenes.py'
model = dict(backbone=dict(gaug=True))
