# Retrofit: as locatvit-nano-identity_digitscenes.py, but GAug starts as in the paper, with alpha near ln 2.
_base_ = './locatvit-nano-identity_digitscenes.py'
model = dict(backbone=dict(gaug_init='paper'))
