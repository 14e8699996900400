"""Faults of dependencies that the plugin and what leaves it work around: each is shown on the installed versions.

A test that fails says that a fault is gone: look whether the workaround, named in its docstring, can go too.
"""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import hub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models.backbones import VisionTransformer

SMALL = dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8)


def vit(**options):
    return VisionTransformer(SMALL, 8, 4, **options)


def segmentor():
    init_default_scope('mmseg')
    return MODELS.build(dict(
        type='EncoderDecoder', backbone=dict(type='mmpretrain.VisionTransformer', arch=SMALL, img_size=8, patch_size=4),
        decode_head=dict(type='FCNHead', in_channels=8, channels=8, num_convs=1, num_classes=3)))


def test_mmpretrain_resizes_position_embeddings_without_antialiasing():
    """``LocAtViT._prepare_pos_embed`` silences its load hook, ``position.py`` resizes."""
    embedding = torch.randn(1, 14 * 14, 1)
    plain = VisionTransformer.resize_pos_embed(embedding, (14, 14), (5, 5), 'bicubic', 0)
    image = embedding.reshape(1, 1, 14, 14)
    sharp, smooth = (torch.nn.functional.interpolate(image, (5, 5), mode='bicubic', antialias=flag)
                     for flag in (False, True))
    assert torch.allclose(plain.reshape(5, 5), sharp[0, 0], atol=1e-5) and (sharp - smooth).abs().max() > 0.1


def test_mmpretrains_backbones_return_none_from_eval():
    """``building.build_model`` and ``LocAtViT.train`` return the model."""
    assert vit().eval() is None and vit().train() is None


def test_mmpretrains_feature_maps_are_permuted_views():
    """``LocAtViT.forward`` makes them contiguous, or each head that reshapes copies them."""
    assert not vit(out_type='featmap')(torch.zeros(1, 3, 8, 8))[0].is_contiguous()


def test_mmpretrains_layer_decay_fails_in_a_segmentor_and_ignores_lr_mult():
    """``engine.layer_decay`` asks the backbone, and takes the multiplier."""
    options = ConfigDict(
        type='OptimWrapper', constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=1., weight_decay=0.),
        paramwise_cfg=dict(layer_decay_rate=0.5, custom_keys={'fc': dict(lr_mult=10.)}))
    with pytest.raises(NotImplementedError, match='get_layer_depth'):
        build_optim_wrapper(segmentor(), options)
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(type='ImageClassifier', backbone=dict(type='VisionTransformer', arch=SMALL, img_size=8,
                                                                    patch_size=4),
                              head=dict(type='LinearClsHead', num_classes=2, in_channels=8)))
    groups = build_optim_wrapper(model, options).optimizer.param_groups
    assert max(group['lr'] for group in groups) == 1  # 10, if it were heard


def test_mmsegs_decode_heads_are_not_called_as_modules():
    """``analysis.flops`` adds what their children cost, for no hook of theirs runs."""
    model, called = segmentor(), []
    model.decode_head.register_forward_hook(lambda *_: called.append('head'))
    model.backbone.register_forward_hook(lambda *_: called.append('backbone'))
    model.backbone.out_type = 'featmap'
    model(torch.zeros(1, 3, 8, 8))
    assert called == ['backbone']


def test_pytorch_has_no_deterministic_gradient_of_antialiased_resizing():
    """``position.resize_position_embedding`` resizes by matrices."""
    if not torch.cuda.is_available():
        pytest.skip('a fault of CUDA, and there is no GPU')
    image = torch.randn(1, 1, 4, 4, device='cuda', requires_grad=True)
    torch.use_deterministic_algorithms(True)  # the fixture of all tests takes it back
    with pytest.raises(RuntimeError, match='deterministic'):
        torch.nn.functional.interpolate(image, (3, 3), mode='bicubic', antialias=True).sum().backward()


def test_mmengine_does_not_find_the_onedl_builds_by_the_names_of_their_projects(monkeypatch, tmp_path):
    """``zoo.find_installed_libraries`` gives it the names of the modules; its hub would call pip."""
    from importlib import metadata

    from mmengine.utils import install_package, package_utils
    try:
        pytest.skip(f'mmsegmentation {metadata.version("mmsegmentation")} is installed under the name of its project')
    except metadata.PackageNotFoundError:
        monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')  # as MMEngine has it
    (tmp_path / 'a.py').write_text("_base_ = 'mmseg::_base_/default_runtime.py'\n")
    with pytest.raises(ModuleNotFoundError, match='mmsegmentation is not installed'):
        Config.fromfile(tmp_path / 'a.py')
    calls = []
    monkeypatch.setattr(package_utils, 'call_command', calls.append)
    monkeypatch.setattr(hub, 'install_package', install_package)
    with pytest.raises(Exception):  # noqa: B017  what comes of going on without it
        hub.get_config('mmseg::_base_/default_runtime.py')
    assert calls == [['python', '-m', 'pip', 'install', 'mmsegmentation']]


class Negative(torch.nn.Module):
    """What a size lacks to a multiple of 4, with a quotient of a negative number."""

    def forward(self, x):
        return torch.nn.functional.pad(x, (0, -(-x.shape[3] // 4) * 4 - x.shape[3]))


def recorded(model, path):
    """Returns the ONNX file of a model of images (1, 1, H, W), for any H and W, as a function."""
    if not hasattr(torch.compiler, 'is_exporting'):
        pytest.skip(f'PyTorch {torch.__version__} cannot record graphs for images of any size')
    pytest.importorskip('onnxscript', reason='the extra mmlocat[deploy] is not installed')
    onnxruntime = pytest.importorskip('onnxruntime', reason='the extra mmlocat[deploy] is not installed')
    sizes = ({2: torch.export.Dim('height', min=4), 3: torch.export.Dim('width', min=4)}, )
    torch.onnx.export(model, (torch.randn(1, 1, 9, 9), ), path, dynamo=True, dynamic_shapes=sizes, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda x: torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def test_onnx_rounds_quotients_of_negative_numbers_towards_zero(tmp_path):
    """``layers.PatchPadding`` has quotients of positive numbers alone."""
    x = torch.randn(1, 1, 7, 6)
    assert Negative()(x).shape[3] == 8
    assert recorded(Negative(), tmp_path / 'x.onnx')(x).shape[3] != 8


def test_onnx_pools_by_the_windows_of_the_recorded_size(tmp_path):
    """``deploy.pooling`` pools by matrices."""
    pool, x = torch.nn.AdaptiveAvgPool2d(3), torch.randn(1, 1, 7, 7)
    try:
        found = recorded(pool, tmp_path / 'x.onnx')(x)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError):  # releases that do not take it at all
        return
    assert found.shape != pool(x).shape or (found - pool(x)).abs().max() > 1e-3
