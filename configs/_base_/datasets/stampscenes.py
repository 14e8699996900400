# StampScenes for classification: one photographed object on 96 x 96 px, nine classes. No augmentation.
_base_ = './digitscenes.py'
data_preprocessor = dict(num_classes=9)
train_dataloader = dict(dataset=dict(type='StampScenesClassification'))
val_dataloader = dict(dataset=dict(type='StampScenesClassification'))
test_dataloader = dict(dataset=dict(type='StampScenesClassification'))
