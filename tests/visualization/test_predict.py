"""tools/predict.py: the numbers of MMSegmentation and MMPretrain under the names of classes, and what it refuses."""

import runpy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer
from PIL import Image

from mmlocat.config import load_config
from mmlocat.datasets import DigitScenesClassification
from mmlocat.experiments.demo_models import demo_model
from mmlocat.visualization import load_segmentor
from mmlocat.visualization.overlay import Prediction, compose, compose_classes
from mmlocat.visualization.predict import shares
from mmlocat.visualization.segmentor import _dataset_meta
from tests.conftest import ROOT
from tests.helpers.demo_layout import write_demo_models

main = runpy.run_path(str(ROOT / 'tools' / 'predict.py'), run_name='tool')['main']
CLASSIFIER, SEGMENTOR = 'locatvit-nano_digitscenes', 'locatvit-nano_linear_digitscenes'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    folder = write_demo_models(tmp_path_factory.mktemp('demo'), ['locatvit'], ['pretrain', 'linear'])
    return {name: str(demo_model('locatvit', head, folder).checkpoint)
            for name, head in ((CLASSIFIER, 'pretrain'), (SEGMENTOR, 'linear'))}


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / 'in').mkdir()
    for number, size in enumerate([(36, 36, 3), (30, 44, 3)]):
        pixels = np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'in' / f'{number}.png')
    return tmp_path / 'in'


def predict(pictures, model, *more):
    return main([str(pictures), '--model', model, '--device', 'cpu', '--out-dir', str(pictures.parent / 'out'), *more])


def rows(said, picture):
    """Returns what the printed table says of a picture: class and number."""
    found = [line.split() for line in said.splitlines() if line.startswith(str(picture))]
    return [(name, float(number.rstrip('%'))) for _, name, number in found]


def test_a_classifier_names_the_five_most_likely(pictures, checkpoint, capsys):
    assert predict(pictures, CLASSIFIER, '--checkpoint', checkpoint[CLASSIFIER]) == 0
    said = capsys.readouterr().out
    assert f'checkpoint {checkpoint[CLASSIFIER]}' in said and '2 of 2 done' in said
    inferencer = ImageClassificationInferencer(load_config(CLASSIFIER), checkpoint[CLASSIFIER], device='cpu')
    for picture in sorted(pictures.iterdir()):
        scores = torch.from_numpy(inferencer(str(picture))[0]['pred_scores'])
        best = scores.topk(5)
        shown = rows(said, picture)
        assert [number for _, number in shown] == pytest.approx([100 * one for one in best.values.tolist()], abs=0.051)
        assert [name for name, _ in shown] == [DigitScenesClassification.METAINFO['classes'][index]
                                               for index in best.indices]
    assert [path.name for path in sorted((pictures.parent / 'out').iterdir())] == ['0.png', '1.png']


def test_a_segmentor_names_classes_by_their_share_of_the_area(pictures, checkpoint, capsys):
    (pictures / 'bad.png').write_bytes(b'no picture')
    assert predict(pictures, SEGMENTOR, '--checkpoint', checkpoint[SEGMENTOR]) == 1  # one could not be read
    said = capsys.readouterr()
    assert '2 of 3 done' in said.out and f'Error: {pictures / "bad.png"} cannot be read' in said.err
    model = load_segmentor(str(ROOT / 'configs' / f'{SEGMENTOR}.py'), checkpoint[SEGMENTOR], 'cpu')
    pixels = np.asarray(Image.open(pictures / '1.png'))
    found = model.predict(pixels[..., ::-1])
    expected = {name: 100 * (found.labels == number).mean() for number, name in enumerate(found.classes)}
    shown = rows(said.out, pictures / '1.png')
    assert len(shown) > 1 and dict(shown) == pytest.approx({name: expected[name] for name, _ in shown}, abs=0.051)
    assert sum(number for _, number in shown) == pytest.approx(100, abs=1)
    assert shown == sorted(shown, key=lambda row: -row[1])
    drawn = np.asarray(Image.open(pictures.parent / 'out' / '1.png'))
    titled = Prediction(f'{SEGMENTOR}, iter_1', found.labels, found.classes, found.palette)
    assert np.array_equal(drawn, compose(pixels, [titled], '1.png, 44 x 30 px'))


@pytest.mark.parametrize('name', [CLASSIFIER, SEGMENTOR])
@pytest.mark.parametrize('wrapper', [
    "type='RepeatDataset', times=1, dataset={{_base_.test_dataloader.dataset}}",
    "type='ConcatDataset', datasets=[{{_base_.test_dataloader.dataset}}, {{_base_.test_dataloader.dataset}}]"])
def test_a_data_set_in_a_wrapper_is_looked_into(wrapper, name, checkpoint, pictures, tmp_path, capsys):
    assert predict(pictures, name, '--checkpoint', checkpoint[name]) == 0
    config = tmp_path / f'{name}.py'  # titles stay as they are
    config.write_text(f'''_base_ = {str(ROOT / 'configs' / f'{name}.py')!r}
test_dataloader = dict(dataset=dict(_delete_=True, {wrapper}))
''')
    expected = capsys.readouterr().out
    assert predict(pictures, str(config), '--checkpoint', checkpoint[name]) == 0
    found = capsys.readouterr().out
    assert len(rows(found, pictures / '0.png')) > 1
    assert rows(found, pictures / '0.png') == rows(expected, pictures / '0.png')


def test_names_are_kept_where_colours_do_not_fit():
    data = dict(type='ADE20KDataset', metainfo=dict(classes=('wall', 'sky')))  # with the 150 colours of ADE20K
    config = Config(dict(default_scope='mmseg', test_dataloader=dict(dataset=data)))
    model = SimpleNamespace(checkpoint_meta={}, num_classes=2)
    for kind in ('ADE20KDataset', 'BaseSegDataset'):  # which has none
        config.test_dataloader.dataset.type = kind
        found = _dataset_meta(config, model)
        assert found['classes'] == ['wall', 'sky'] and np.shape(found['palette']) == (2, 3)
    config.test_dataloader.dataset.metainfo = dict(classes=('c', 'd'), palette=[[1, 2, 3], [4, 5, 6]])
    model.checkpoint_meta = dict(dataset_meta=dict(classes=('a', 'b')))
    assert _dataset_meta(config, model) == dict(classes=['a', 'b'], palette=[[1, 2, 3], [4, 5, 6]])


def test_unlabelled_pixels_are_no_class():
    labels = np.array([[0, 2, 2], [2, 255, 0]])
    assert shares(Prediction('', labels, ['a', 'b', 'c'], [])) == {'c': 1 / 2, 'a': 1 / 3}


def test_the_bars_of_a_classifier_are_as_long_as_it_is_sure():
    image = np.zeros((20, 40, 3), np.uint8)

    def blue(first):
        drawn = compose_classes(image, 'm', {'a': first, 'b': 0.1})
        return (drawn == (176, 196, 222)).all(-1).sum()

    assert blue(0.1) > 100 and blue(0.9) / blue(0.1) == pytest.approx(5, rel=0.2)


@pytest.mark.parametrize(('arguments', 'message'), [
    (['nothing.png', '--model', CLASSIFIER], 'nothing.png names no image or video'),
    (['a.mp4', '--model', CLASSIFIER], 'a.mp4 names no picture, but videos or cameras; demo/image_demo.py'),
    (['a.png', '--model', CLASSIFIER], '; give yours by --checkpoint FILE'),
    (['a.png', '--model', 'locatvit_imagnet'], "'locatvit_imagnet'; did you mean locatvit_imagenet"),
    (['a.png', '--model', 'mine.py', '--checkpoint', 'a.pth'], 'mine.py does not exist'),
    (['a.png', '--model', CLASSIFIER, '--checkpoint', 'a.pth'], 'a.pth'),
    (['a.png', '--model', CLASSIFIER, '--out-dir', 'a.png'], '--out-dir a.png is a file, not a folder'),
])
def test_wrong_input_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ('a.png', 'a.mp4'):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr().err
    assert stop.value.code == 1 and message in said and 'Traceback' not in said
    assert not (tmp_path / 'work_dirs').exists()


def test_a_checkpoint_of_another_model_is_refused(pictures, checkpoint, capsys):
    with pytest.raises(SystemExit):
        predict(pictures, SEGMENTOR, '--checkpoint', checkpoint[CLASSIFIER])
    assert 'does not fit the model of this config' in capsys.readouterr().err
