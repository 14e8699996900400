# Dense retrieval on DigitScenes from the patches of a LocAtJumbo of the demo's size.
# Test it with the checkpoint of locatjumbo-nano_digitscenes.py.
_base_ = './jumbo-nano_hummingbird_digitscenes.py'
model = dict(backbone=dict(gaug=True))
