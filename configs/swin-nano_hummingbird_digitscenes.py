# Dense retrieval on DigitScenes from the patches of a Swin of the demo's size: its last stage but one.
# Test it with the checkpoint of swin-nano_digitscenes.py.
_base_ = './vit-nano_hummingbird_digitscenes.py'
model = dict(backbone=dict(out_type='featmap', final_norm=False, out_indices=0, **_base_.nano_swin))
test_cfg = dict(patches_per_image=81)  # of 324: as many rows as the others have
