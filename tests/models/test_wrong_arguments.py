"""Arguments and tensors that are wrong: one line that names the value, what was expected and what to change."""

import pytest
import torch

from mmlocat.attention import GaussianKernel, gaussian_attention, refine_patches
from mmlocat.models import LocAtSwin, LocAtViT
from mmlocat.models.necks import PatchRefinement
from tests.conftest import NANO

KERNEL = GaussianKernel(6)


def vit(**options):
    return LocAtViT(**{**dict(arch=NANO, img_size=24, patch_size=4), **options})


def attend(query=(1, 2, 37, 8), key=None, dtypes=(torch.float32, ) * 3, variance=(1, 2, 36, 2), alpha=(1, 2, 36, 1),
           grid=(6, 6), **options):
    q, k, v = (torch.ones(shape, dtype=dtype) for shape, dtype in zip((query, key or query, query), dtypes))
    options.setdefault('num_prefix_tokens', 1)
    return gaussian_attention(q, k, v, torch.ones(variance), torch.ones(alpha), kernel=KERNEL, grid=grid, **options)


def forward(images, **options):
    return vit(**options)(images)


half, whole, real = torch.float16, torch.int64, torch.float32
CASES = {
    # the architecture
    'unknown arch': (lambda: vit(arch='enormous'), 'Arch enormous is not in default archs'),
    'arch without heads': (lambda: vit(arch=dict(embed_dims=64, num_layers=2)), 'Custom arch needs a dict with keys'),
    'heads do not divide': (lambda: vit(arch=dict(NANO, num_heads=5)), 'num_heads=5 does not divide embed_dims=64'),
    'no such block': (lambda: vit(out_indices=[0, 7]), 'Invalid out_indices 7; there are blocks 0 to 3'),
    'no such block from the end': (lambda: vit(out_indices=(-5, )), 'Invalid out_indices -5'),
    'blocks that fall': (lambda: vit(out_indices=(3, 1)), r'out_indices=\(3, 1\) must rise: .*; write \(1, 3\), and'),
    'a block twice': (lambda: vit(out_indices=(-1, 3)), r'out_indices=\(-1, 3\) must rise: .*; write \(3,\), and'),
    'out_indices is text': (lambda: vit(out_indices=3.5), '"out_indices" must be a sequence or int'),
    'out_type': (lambda: vit(out_type='maps'), 'Unsupported `out_type` maps, please choose from'),
    'out_type without class token': (lambda: vit(with_cls_token=False, out_type='cls_token'),
                                     'with_cls_token must be True when `out_type="cls_token"`'),
    'pairs without class token': (lambda: vit(with_cls_token=False, out_type='featmap_and_cls_token'),
                                  'needs a class token, but with_cls_token=False; set it to True, or take'),
    'pairs of Swin': (lambda: LocAtSwin(out_type='featmap_and_cls_token'),
                      'LocAtSwin, which has no class token; choose one of featmap, raw'),
    'frozen_stages': (lambda: vit(frozen_stages=9), 'frozen_stages=9, but there are 4 blocks to freeze; use 4'),
    'layer_cfgs': (lambda: vit(layer_cfgs=[{}, {}]), 'layer_cfgs has 2 entries for 4 blocks; give one dict for all'),
    'registers': (lambda: vit(num_registers=-1), 'num_registers must not be negative, got -1'),
    'gaug_init': (lambda: vit(gaug_init='zero'), "gaug_init must be 'paper', 'identity' or None, got 'zero'"),
    'back-end': (lambda: vit(attention_backend='flash'), "unknown attention back-end 'flash'; choose one of auto, "),
    'img_size': (lambda: vit(img_size=0), 'img_size must be a positive whole number or a pair .*in pixels; got 0'),
    'img_size is text': (lambda: vit(img_size='24'), "img_size must be a positive whole number .*got '24'"),
    'patch_size': (lambda: vit(patch_size=(4, 0)), r'patch_size must be a positive .*got \(4, 0\)'),
    'drop_path_rate': (lambda: vit(drop_path_rate=1.5), r'drop_path_rate must lie in \[0, 1\), got 1.5'),
    'interpolate_mode': (lambda: vit(interpolate_mode='cubic'), "interpolate_mode='bicubic'.*'dino'.*got 'cubic'"),
    'ref_grid': (lambda: vit(ref_grid=(14, 0)), r'ref_grid must be a positive whole number .*got \(14, 0\)'),
    'ref_grid is text': (lambda: vit(ref_grid='14x14'), "ref_grid must be a positive .*got '14x14'"),
    'mistyped argument': (lambda: vit(drop_path=0.1), "unexpected keyword argument 'drop_path'"),
    'PRR out_type': (lambda: PatchRefinement(2, out_type='map'), "unknown out_type 'map' of PatchRefinement; choose"),
    # images
    'channels': (lambda: forward(torch.ones(1, 4, 24, 24)), r'takes images of shape \(B, 3, .* got \(1, 4, 24, 24\)'),
    'no batch': (lambda: forward(torch.ones(3, 24, 24)), r'takes images of shape \(B, 3, .* got \(3, 24, 24\)'),
    'bytes': (lambda: forward(torch.ones(1, 3, 24, 24, dtype=torch.uint8)), 'takes floating-point images, got '
                                                                           'torch.uint8; normalise them first'),
    'half images': (lambda: forward(torch.ones(1, 3, 24, 24, dtype=half)), 'Half.* and .*type .* should be the same'),
    # attention
    'grid against tokens': (lambda: attend(grid=(5, 6)), r'a grid of \(5, 6\) and 1 prefix tokens make 31 tokens, but '
                                                         'query has N = 37'),
    'prefix against tokens': (lambda: attend(num_prefix_tokens=0), '0 prefix tokens make 36 tokens, but query has N'),
    'negative prefix': (lambda: attend(num_prefix_tokens=-1, grid=(2, 19)), '-1 prefix tokens make 37 tokens'),
    'grid of nothing': (lambda: attend(grid=(0, 6)), r'grid must be a positive whole number .*got \(0, 6\)'),
    'three axes': (lambda: attend(query=(2, 37, 8)), r'query must have shape \(B, h, N, d\), got \(2, 37, 8\)'),
    'key of another size': (lambda: attend(key=(1, 2, 36, 8)), 'query, key and value must share one shape, got'),
    'mixed dtypes': (lambda: attend(dtypes=(real, half, real)), 'must share one floating-point dtype, got '
                                                                'torch.float32, torch.float16 and'),
    'whole numbers': (lambda: attend(dtypes=(whole, whole, whole)), 'one floating-point dtype, got torch.int64'),
    'variance': (lambda: attend(variance=(1, 2, 37, 2)), r'variance must have shape .*\(1, 2, 36, 2\), got \(1, 2, 37'),
    'alpha': (lambda: attend(alpha=(1, 2, 36, 2)), r'alpha must have shape .*\(1, 2, 36, 1\), got \(1, 2, 36, 2\)'),
    'dropout': (lambda: attend(dropout_p=1.0), r'dropout_p must lie in \[0, 1\), got 1.0'),
    'unknown back-end': (lambda: attend(backend='flex'), "unknown attention back-end 'flex'; choose one of"),
    'a bias in tiles': (lambda: attend(backend='streaming', bias=torch.zeros(37, 37)),
                        "'streaming' cannot run here: .*; these can: dense, sdpa"),
    'bias of another size': (lambda: attend(bias=torch.zeros(36, 37)),
                             r'broadcastable to \(B, h, N, N\) = \(1, 2, 37, 37\), got \(36, 37\)'),
    'boolean bias': (lambda: attend(bias=torch.ones(37, 37) > 0), 'must be floating point, got torch.bool; turn a'),
    'kernel': (lambda: GaussianKernel((14, -1)), r'ref_grid must be a positive whole number .*got \(14, -1\)'),
    'PRR heads': (lambda: refine_patches(torch.ones(1, 5, 64), 3), 'num_heads=3 does not divide the 64 channels'),
    'PRR map': (lambda: PatchRefinement(2)(torch.ones(1, 64, 6, 6)), "a feature map has no class token: use out_type"),
    # weights
    'NaN weights': (lambda: vit().load_state_dict({name: value * float('nan') for name, value in
                                                   vit().state_dict().items()}), 'hold NaN or infinity'),
    'other weights': (lambda: vit().load_state_dict({'conv.weight': torch.ones(1)}), 'none of the 1 entries of '
                                                                                   'the checkpoint is a weight of Loc'),
}


@pytest.mark.parametrize('case', CASES)
def test_wrong_argument(case):
    call, message = CASES[case]
    with pytest.raises((ValueError, TypeError, RuntimeError, AssertionError), match=message) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1


def test_half_images_are_fine_where_autocast_or_the_weights_are_half():
    images = torch.ones(1, 3, 24, 24)
    with torch.no_grad():
        assert vit().bfloat16()(images.bfloat16())[0].dtype == torch.bfloat16
        with torch.autocast('cpu', torch.bfloat16):
            assert vit()(images.bfloat16())[0].isfinite().all()


@torch.no_grad()
def test_nan_in_one_pixel_is_nan_in_every_feature_of_that_image_alone():
    images = torch.rand(2, 3, 24, 24)
    clean = vit(out_type='featmap').eval()
    before, = clean(images)
    images[0, 1, 3, 3] = float('nan')
    after, = clean(images)
    assert after[0].isnan().all() and torch.equal(after[1], before[1])


def test_how_many_there_are(figure):
    assert len(CASES) >= 40
    figure('Any input', 'wrong arguments and tensors, each refused in one line', len(CASES))
