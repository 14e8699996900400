"""Images of 1, 2, 4 and 10 channels and of 8 and 16 bits: the tools see what a test of the model sees."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import TRANSFORMS
from rich.console import Console

from mmlocat.analysis.flops import count
from mmlocat.config import load_config
from mmlocat.models.building import build_model
from mmlocat.visualization import collect, load_segmentor, prepare_image
from mmlocat.visualization.arguments import ModelFiles
from mmlocat.visualization.attention_pages import attention_job
from mmlocat.visualization.features import features_job
from mmlocat.visualization.pictures import as_picture, frame_for, load_image, shown_of, swap_colours
from mmlocat.visualization.segment import image_demo_job
from mmlocat.visualization.sources import shrink

CONFIG = '''
default_scope = 'mmseg'
custom_imports = dict(imports=['mmlocat.models'])
model = dict(type='EncoderDecoder', test_cfg=dict(mode='whole'),
             data_preprocessor=dict(type='SegDataPreProcessor', mean={mean}, std={mean}, bgr_to_rgb={channels} == 3),
             backbone=dict(type='LocAtViT', img_size=24, patch_size=4, in_channels={channels}, out_type='featmap',
                           arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)),
             decode_head=dict(type='FCNHead', in_channels=24, in_index=0, channels=24, num_convs=0, num_classes=3,
                              concat_input=False))
test_dataloader = dict(dataset=dict(type='BaseSegDataset', pipeline=[{load}, {normalise}dict(type='PackSegInputs')]))
'''


class LoadArray:
    """A loading step of a user's own."""

    def __call__(self, results):
        image = np.load(results['img_path'])
        return dict(results, img=image.astype(np.float32), img_shape=image.shape[:2], ori_shape=image.shape[:2])


@pytest.fixture(scope='module', autouse=True)
def registered():
    TRANSFORMS.register_module('LoadArrayOfTheTest', module=LoadArray)
    yield
    TRANSFORMS.module_dict.pop('LoadArrayOfTheTest')


@pytest.fixture
def case(request, tmp_path):
    """Config, checkpoint, an image file and its values, for a number of channels and bits."""
    channels, bits = request.param
    image = np.random.default_rng(channels).integers(0, 2**bits, (21, 30, channels)).astype(f'uint{bits}')
    file = tmp_path / 'images' / ('a.npy' if channels in (2, 10) else 'a.tif' if channels == 4 else 'a.png')
    file.parent.mkdir()
    np.save(file, image) if channels in (2, 10) else cv2.imwrite(str(file), image)
    load = "dict(type='LoadArrayOfTheTest')" if channels in (2, 10) else (
        f"dict(type='LoadImageFromFile', color_type='unchanged', to_float32={bits == 16})")
    config, checkpoint = tmp_path / 'mine.py', tmp_path / 'mine.pth'
    middle, few = [2.**(bits - 1) + channel for channel in range(channels)], channels in (1, 3)
    normalise = '' if few else f"dict(type='Normalize', mean={middle}, std={middle}, to_rgb=False), "
    config.write_text(CONFIG.format(channels=channels, mean=middle if few else None, load=load, normalise=normalise))
    model = build_model(load_config(str(config)))
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return SimpleNamespace(config=config, checkpoint=checkpoint, file=file, image=image, channels=channels)


def options(case, **others):
    return SimpleNamespace(**{**dict(device='cpu', trust_pickle=False, max_side=None), **others})


@pytest.mark.parametrize('case', [(1, 8), (1, 16), (2, 8), (3, 16), (4, 8), (4, 16), (10, 16)], indirect=True)
def test_tools_load_what_a_test_loads(case):
    segmentor = load_segmentor(case.config, case.checkpoint, 'cpu')
    model, steps = segmentor.model, load_config(str(case.config)).test_dataloader.dataset.pipeline
    pixels = load_image(case.file, model)
    assert np.array_equal(pixels, case.image)  # all bits of all channels
    data = pseudo_collate([Compose(steps)(dict(img_path=str(case.file)))])
    normalised = model.data_preprocessor(data, training=False)['inputs']
    assert torch.equal(prepare_image(model, swap_colours(pixels)), normalised)
    expected = model.test_step(data)[0].pred_sem_seg.data[0].numpy()
    assert np.array_equal(segmentor.predict(pixels).labels, expected) and len(np.unique(expected)) > 1
    assert normalised.abs().max() < 1.01 and collect(model, normalised).grid == (6, 8)
    shown = as_picture(swap_colours(pixels))
    assert shown.shape == (21, 30, 3) and shown.dtype == np.uint8 and shown.std() > 50
    cost = count(load_config(str(case.config)), (24, 24))
    assert cost.of('backbone.patch_embed') == 36 * 24 * 16 * case.channels


@pytest.mark.parametrize('case', [(4, 8)], indirect=True)
def test_pictures_say_which_channels_they_show(case, tmp_path, capsys, monkeypatch):
    from mmlocat.visualization import attention_pages, segment
    files, captions = ModelFiles('mine', case.config, case.checkpoint), []
    monkeypatch.setattr(segment, 'compose', lambda picture, predictions, caption: captions.append(caption) or picture)
    loaded = load_segmentor(case.config, case.checkpoint, 'cpu')
    demo = options(case, images=[str(case.file)], out_dir=str(tmp_path / 'demo'), frames=None)
    assert image_demo_job(demo, lambda: [loaded], Console())() == 0
    assert captions == ['a.tif, 30 x 21 px, channels 1 to 3 of 4 shown']
    drawn = cv2.imread(str(tmp_path / 'demo' / 'a.png'))
    assert np.array_equal(drawn, case.image[..., :3])  # blue, green, red

    subjects = []
    monkeypatch.setattr(attention_pages, 'draw_block', lambda subject, block: subjects.append(subject))
    monkeypatch.setattr(attention_pages, 'save', lambda *_: None)
    attention_job(options(case, image=str(case.file), at=[], out=str(tmp_path / 'maps')), lambda: files)()
    assert len(subjects) == 2 and subjects[0].title.endswith('30 x 21 px, channels 1 to 3 of 4 shown')
    assert np.array_equal(subjects[0].image, drawn[..., ::-1])

    features_job(options(case, images=str(case.file.parent), masks=None, max_images=9, out=str(tmp_path / 'features')),
                 [files])()
    assert (tmp_path / 'features' / 'features.md').is_file()


@pytest.mark.parametrize('case', [(1, 8)], indirect=True)
def test_features_of_grey_images_are_measured(case, tmp_path):
    features_job(options(case, images=str(case.file.parent), masks=None, max_images=9, out=str(tmp_path / 'features')),
                 [ModelFiles('mine', case.config, case.checkpoint)])()
    assert (tmp_path / 'features' / 'features.md').read_text().count('mine') > 1


@pytest.mark.parametrize('case', [(1, 8)], indirect=True)
def test_an_image_of_other_channels_is_refused_and_a_video_made_grey(case, tmp_path):
    segmentor = load_segmentor(case.config, case.checkpoint, 'cpu')
    frame = np.random.default_rng(0).integers(0, 256, (21, 30, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'colour.png'), frame)
    with pytest.raises(ValueError, match='colour.png has 3 channels as the config loads it, and the model takes 1'):
        load_image(tmp_path / 'colour.png', segmentor.model)
    with pytest.raises(FileNotFoundError, match='nothing.png does not exist'):
        load_image(tmp_path / 'nothing.png', segmentor.model)
    (tmp_path / 'bad.png').write_bytes(b'no picture')
    with pytest.raises(ValueError, match='bad.png cannot be read as an image by LoadImageFromFile'):
        load_image(tmp_path / 'bad.png', segmentor.model)
    grey = frame_for(frame, 1)
    assert grey.shape == (21, 30, 1) and segmentor.predict(grey).labels.shape == (21, 30)
    assert frame_for(frame, 3) is frame
    with pytest.raises(ValueError, match='videos and cameras have three channels, and the model takes 4; give images'):
        frame_for(frame, 4)
    segmentor.max_side = 12
    assert segmentor.predict(grey).labels.shape == (8, 12)


def test_a_loading_step_of_ones_own_without_arguments_is_used_for_three_channels_too(tmp_path):
    file, image = tmp_path / 'a.npy', np.full((4, 6, 3), 1000, np.uint16)
    np.save(file, image)
    steps = [dict(type='LoadArrayOfTheTest')]
    model = torch.nn.Module()
    model.backbone = SimpleNamespace(in_channels=3)
    model.cfg = dict(default_scope='mmseg', test_dataloader=dict(dataset=dict(pipeline=steps)))
    assert np.array_equal(load_image(file, model), image)
    cv2.imwrite(str(tmp_path / 'a.png'), image.astype(np.uint8))
    steps[0] = dict(type='mmcv.LoadImageFromFile')
    with pytest.raises(FileNotFoundError, match='b.png'):
        load_image(tmp_path / 'b.png', model)
    assert np.array_equal(load_image(tmp_path / 'a.png', model), image.astype(np.uint8))


def test_what_is_shown():
    image = np.arange(2 * 3 * 10, dtype=np.uint8).reshape(2, 3, 10)
    for channels in (1, 2, 10):
        assert shrink(image[..., :channels].repeat(10, 0), 4).shape == (4, 1, channels)
    assert np.array_equal(as_picture(image), image[..., 2::-1])
    assert np.array_equal(as_picture(image[..., :2]), image[..., :1].repeat(3, axis=2))
    assert np.array_equal(as_picture(image[..., :3]), image[..., :3])
    assert as_picture(image[..., :3].astype(np.float32) * 1000).max() >= 254 and not as_picture(
        np.full((2, 2, 1), 7, np.float32)).any()
    assert [shown_of(channels) for channels in (1, 2, 3, 10)] == [
        '', ', channel 1 of 2 shown', '', ', channels 1 to 3 of 10 shown']


def test_the_data_check_leaves_arrays_to_their_loader(tmp_path):
    from mmlocat.datasets.check.reading import _is_picture
    np.save(tmp_path / 'a.npy', np.zeros((4, 4, 10)))
    cv2.imwrite(str(tmp_path / 'b.tif'), np.zeros((4, 4, 4), np.uint8))
    (tmp_path / 'many.tif').write_bytes(b'II*\0' + bytes(60))  # which Pillow does not identify
    for name, start in (('big.tif', b'II+\0'), ('big_endian.tif', b'MM\0+')):  # BigTIFF
        (tmp_path / name).write_bytes(start + bytes(60))
    (tmp_path / 'bad.png').write_bytes(b'no picture')
    (tmp_path / 'empty.npy').touch()
    judged = [_is_picture(str(tmp_path / name)) for name in ('a.npy', 'b.tif', 'many.tif', 'bad.png', 'empty.npy')]
    assert judged == [False, True, False, True, True]
    assert not any(_is_picture(str(tmp_path / name)) for name in ('big.tif', 'big_endian.tif'))
