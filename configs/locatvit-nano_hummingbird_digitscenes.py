# Dense retrieval on DigitScenes from the patches of the demo's LocAtViT.
# Test it with the checkpoint of locatvit-nano_digitscenes.py.
_base_ = './vit-nano_hummingbird_digitscenes.py'
model = dict(backbone=dict(gaug=True))
