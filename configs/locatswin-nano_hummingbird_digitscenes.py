# Dense retrieval on DigitScenes from the patches of a LocAtSwin of the demo's size: its last stage but one.
# Test it with the checkpoint of locatswin-nano_digitscenes.py.
_base_ = './swin-nano_hummingbird_digitscenes.py'
model = dict(backbone=dict(gaug=True))
