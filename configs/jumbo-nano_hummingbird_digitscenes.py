# Dense retrieval on DigitScenes from the patches of a Jumbo of the demo's size.
# Test it with the checkpoint of jumbo-nano_digitscenes.py.
_base_ = './vit-nano_hummingbird_digitscenes.py'
model = dict(backbone=_base_.nano_jumbo)
