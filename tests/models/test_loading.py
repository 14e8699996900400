"""Weights into LocAtViT: position embeddings, names, and checkpoints that are none of ours."""

import pytest
import torch
from conftest import NANO, load_golden
from mmpretrain.models.backbones import VisionTransformer

from mmlocat.models import LocAtViT
from mmlocat.models.backbones.position import resize_position_embedding


def test_resize_has_pils_antialiasing():
    # Independent of torch: PIL's bicubic filter, which antialiases.
    import numpy as np
    from PIL import Image
    grid = torch.randn(14, 14)
    for target in ((32, 32), (9, 20), (5, 5)):
        expected = np.asarray(Image.fromarray(grid.numpy(), mode='F').resize(target[::-1], Image.Resampling.BICUBIC))
        resized = resize_position_embedding(grid.reshape(1, 196, 1), (14, 14), target, 0)
        assert (resized.reshape(target) - torch.from_numpy(expected.copy())).abs().max() < 1e-5
    plain = VisionTransformer.resize_pos_embed(grid.reshape(1, 196, 1), (14, 14), (32, 32), 'bicubic', 0)
    ours = resize_position_embedding(grid.reshape(1, 196, 1), (14, 14), (32, 32), 0)
    assert (plain - ours).abs().max() > 0.1  # the trap that this function is for


def test_resize_keeps_prefix_entries_and_dtype():
    embedding = torch.randn(1, 5 + 36, 8, dtype=torch.float16)
    resized = resize_position_embedding(embedding, (6, 6), (3, 4), 5)
    assert resized.shape == (1, 5 + 12, 8) and resized.dtype == torch.float16
    assert torch.equal(resized[:, :5], embedding[:, :5])
    assert resize_position_embedding(embedding, (6, 6), (6, 6), 5) is embedding
    with pytest.raises(ValueError, match=r'41 entries does not fit a grid of \(5, 5\) with 5 prefix'):
        resize_position_embedding(embedding, (5, 5), (3, 4), 5)


def test_checkpoint_of_another_grid_is_resized_on_load():
    source, target = LocAtViT(NANO, 24, 4), LocAtViT(NANO, 36, 4)
    target.load_state_dict(source.state_dict())
    expected = resize_position_embedding(source.pos_embed, (6, 6), (9, 9), 1)
    assert torch.equal(target.pos_embed, expected)


def test_checkpoint_with_a_class_token_into_a_model_without():
    source = LocAtViT(NANO, 24, 4)
    target = LocAtViT(NANO, 24, 4, with_cls_token=False, out_type='raw')
    target.load_state_dict(source.state_dict(), strict=False)
    assert torch.equal(target.pos_embed, source.pos_embed[:, 1:])


def test_position_embedding_that_is_no_square():
    source = LocAtViT(NANO, (24, 40), 4)
    with pytest.raises(ValueError, match='pos_embed of the checkpoint has 61 entries, which is not a square grid'):
        LocAtViT(NANO, 24, 4).load_state_dict(source.state_dict())


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.', 'module.backbone.'])
def test_init_cfg_takes_backbones_in_wrappers(prefix, tmp_path):
    source = LocAtViT(NANO, 24, 4)
    state = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save(dict(state_dict={**state, 'head.weight': torch.ones(3)}), tmp_path / 'checkpoint.pth')
    target = LocAtViT(NANO, 24, 4, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'checkpoint.pth')))
    assert not torch.equal(target.layers[0].attn.qkv.weight, source.layers[0].attn.qkv.weight)
    target.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


def test_init_cfg_takes_published_names(tmp_path):
    case = load_golden('locatvit')
    weights = {key[len('weights/'):]: value for key, value in case.tensors.items() if key.startswith('weights/')}
    torch.save(weights, tmp_path / 'published.pth')
    arch = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=96)
    model = LocAtViT(arch, 24, 4, out_type='raw',
                     init_cfg=[dict(type='Pretrained', checkpoint=str(tmp_path / 'published.pth'))])
    model.init_weights()
    with torch.no_grad():
        assert (model.eval()(case.tensors['input_0'])[0] - case.tensors['tokens_0']).abs().max() < 1e-5


def test_a_checkpoint_without_one_of_our_weights_is_refused(tmp_path):
    torch.save({'conv1.weight': torch.ones(2), 'fc.bias': torch.ones(2)}, tmp_path / 'resnet.pth')
    model = LocAtViT(NANO, 24, 4, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'resnet.pth')))
    with pytest.raises(RuntimeError, match='none of the 2 entries of the checkpoint is a weight of LocAtViT.*conv1'):
        model.init_weights()


@pytest.mark.parametrize(('options', 'message'), [
    (dict(gaug=False), 'lacks 16 of 70 weights of LocAtViT: layers.0.attn.gaug.log_var.weight'),
    (dict(arch=dict(NANO, feedforward_channels=64)),
     r'has in another shape 12 of 70 .*layers.0.ffn.layers.0.0.weight \(64, 64\) instead of \(256, 64\)'),
    (dict(arch=dict(NANO, num_layers=2)), 'lacks 32 of 70 weights'),
])
def test_a_checkpoint_that_would_leave_the_model_half_loaded_is_refused(options, message, tmp_path):
    source = LocAtViT(**{**dict(arch=NANO, img_size=24, patch_size=4), **options})
    torch.save(source.state_dict(), tmp_path / 'weights.pth')
    model = LocAtViT(NANO, 24, 4, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth')))
    with pytest.raises(RuntimeError, match=message):
        model.init_weights()


def test_locat_weights_do_not_go_into_a_plain_vit_and_nan_goes_nowhere():
    source = LocAtViT(NANO, 24, 4)
    with pytest.raises(RuntimeError, match='is of a LocAtViT, this model is a plain ViT; set gaug=True'):
        LocAtViT(NANO, 24, 4, gaug=False).load_state_dict(source.state_dict(), strict=False)
    state = source.state_dict()
    state['ln1.weight'][3] = float('nan')
    with pytest.raises(RuntimeError, match='1 weights of the checkpoint hold NaN or infinity: ln1.weight'):
        LocAtViT(NANO, 24, 4).load_state_dict(state)


def test_a_plain_vit_is_taken_when_asked_for():
    plain, model = LocAtViT(NANO, 24, 4, gaug=False), LocAtViT(NANO, 24, 4, allow_partial=['gaug'])
    kept = model.layers[0].attn.gaug.log_var.weight.clone()
    model.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(model.layers[3].ffn.layers[1].weight, plain.layers[3].ffn.layers[1].weight)
    assert torch.equal(model.layers[0].attn.gaug.log_var.weight, kept)
