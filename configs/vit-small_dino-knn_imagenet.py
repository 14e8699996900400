# k-NN on the class tokens of the ViT-Small that DINO has pretrained: its teacher.pth or a checkpoint.
_base_ = ['_base_/models/dino.py', '_base_/datasets/imagenet_knn.py', '_base_/runtime_mmpretrain.py']
model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(
        type='LocAtViT', arch='small', img_size=224, gaug=False, out_type='cls_token', interpolate_mode='dino'))
custom_hooks = None
