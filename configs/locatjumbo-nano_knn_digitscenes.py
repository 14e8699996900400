# k-NN on the joined class tokens of a LocAtJumbo of the demo's size, before PRR.
# Test it with the checkpoint of locatjumbo-nano_digitscenes.py.
_base_ = './jumbo-nano_knn_digitscenes.py'
model = dict(backbone=dict(gaug=True))
