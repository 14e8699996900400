"""The check of data: lists and class folders of classifiers, data sets of one's own, and its place in a training."""

import runpy

import pytest
from mmengine.config import Config
from mmseg.datasets import BaseSegDataset

from mmlocat.config import load_config
from mmlocat.datasets.check import check_data, render
from mmlocat.training import cli, training_data
from mmlocat.training.context import Context
from tests.conftest import ROOT
from tests.helpers.layouts import (
    RAW_VALUES,
    ROOTS,
    errors_of,
    leaf,
    make_class_folders,
    place,
    write_image,
    write_label,
)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


LISTS, VAL = ROOTS['imagenet'] + '/meta/val.txt', ROOTS['imagenet'] + '/val'


def change_line(number, text):
    def damage(root):
        path = root / 'meta' / 'val.txt'
        lines = path.read_text().splitlines()
        lines[number - 1] = text
        path.write_text('\n'.join(lines) + '\n')
    return damage


@pytest.mark.parametrize(('damage', 'message'), [
    (change_line(2, 'ILSVRC2012_val_00000002.JPEG 1000'),
     f'images whose label is outside 0 to 999: 1 of 4 ({VAL}/ILSVRC2012_val_00000002.JPEG: 1000)'),
    (change_line(4, 'ILSVRC2012_val_00000004.JPEG'), f"ImageNet cannot list its files (ann_file='{LISTS}', "
     f"data_prefix={{'img_path': '{VAL}'}}): ValueError: line 4 is 'ILSVRC2012_val_00000004.JPEG', not "
     'a file, a space and a class number'),
    (change_line(2, 'ILSVRC2012_val_00000002.JPEG two'), f"ImageNet cannot list its files (ann_file='{LISTS}', "
     f"data_prefix={{'img_path': '{VAL}'}}): ValueError: line 2 is 'ILSVRC2012_val_00000002.JPEG two', not "
     'a file, a space and a class number'),
    (lambda root: (root / 'val' / 'ILSVRC2012_val_00000003.JPEG').unlink(),
     f'images that do not exist: 1 of 4 ({VAL}/ILSVRC2012_val_00000003.JPEG)'),
    (lambda root: (root / 'meta' / 'val.txt').write_text(''), f"ImageNet cannot list its files (ann_file='{LISTS}', "
     f"data_prefix={{'img_path': '{VAL}'}}): ValueError: no image is there"),
    (lambda root: (root / 'val' / 'ILSVRC2012_val_00000001.JPEG').write_bytes(b'\xff\xd8\xff'),
     f'images that cannot be read: 1 of 4 ({VAL}/ILSVRC2012_val_00000001.JPEG: no image)'),
    (lambda root: (root / 'meta' / 'val.txt').unlink(),
     f"ImageNet cannot list its files (data_prefix={{'img_path': '{VAL}'}}): AssertionError: The number of subfolders "
     "(0) doesn't match the number of specified classes (1000). Please check the data folder."),
])
def test_each_fault_of_a_list_of_images_is_named(damage, message):
    root, config = place('imagenet')
    damage(root)
    report = check_data(config, ['val'])[0]
    assert errors_of([report]) == [f'val: {message}']
    assert 'section ImageNet-1K' in report.errors[0].fix


def test_class_folders_of_imagenet(tmp_path):
    root = tmp_path / 'data' / 'imagenet'
    make_class_folders(root, 1000)
    config = load_config(leaf('vit_imagenet'))
    assert errors_of(check_data(config, files=2)) == []
    image, = (root / 'train' / 'n01440764').iterdir()
    image.rename(image.with_suffix('.webp'))
    write_image(root / 'train' / 'n01440765' / 'another.webp')
    for path in sorted((root / 'val').iterdir())[-1:]:
        next(path.iterdir()).unlink()
        path.rmdir()
    left_out, empty, fewer = errors_of(check_data(config, files=2))
    assert left_out == ('train: image files that are left out (of another suffix, or labels without an image): 1 of '
                        '1,000 (data/imagenet/train/n01440765/another.webp)')
    assert empty == 'train: class folders without an image: 1 of 1,000 (n01440764)'
    assert "The number of subfolders (999) doesn't match the number of specified classes (1000)" in fewer


def test_class_folders_are_compared_with_the_model_where_the_data_set_names_no_classes():
    root, config = place('mini-imagenet')
    (root / 'train' / 'n01440764').rename(root / 'n01440764')
    assert errors_of(check_data(config)) == [
        'train: CustomDataset has 99 classes, the model predicts 100',
        'val, test: class folders differ from those of train (only in one of them: n01440764), so the same label means '
        'another class']


def test_class_folders_are_the_same_in_every_split():
    """As in Mini-ImageNet's few-shot splits: mmpretrain would number the folders of each split by themselves."""
    root, config = place('mini-imagenet')
    (root / 'val' / 'n01440764').rename(root / 'val' / 'n09999999')
    assert errors_of(check_data(config)) == [
        'val, test: class folders differ from those of train (only in one of them: n01440764, n09999999), so the same '
        'label means another class']


def test_a_split_that_is_not_there_at_all():
    root, config = place('mini-imagenet')
    (root / 'val').rename(root / 'elsewhere')
    error, = errors_of(check_data(config))
    assert error.endswith("No such file or directory: 'data/mini-imagenet/val'")


def test_a_model_with_fewer_classes_than_the_data_is_an_error():
    _, config = place('ade20k')
    config.model.decode_head.num_classes = 19
    assert errors_of(check_data(config, ['train'])) == ['train: ADE20KDataset has 150 classes, the model predicts 19']


def test_drawn_scenes_vouch_for_themselves(monkeypatch):
    monkeypatch.setattr('mmlocat.datasets.scenes.datasets._ready', lambda *args: pytest.fail('it was opened'))
    for name in ('vit-nano_digitscenes', 'vit-nano_linear_digitscenes', 'vit-nano_linear_stampscenes'):
        reports = check_data(load_config(leaf(name)))
        assert [report.title for report in reports] == ['train', 'val', 'test']
        assert not any(report.findings or report.read for report in reports)


def custom_config(folder, **settings):
    dataset = dict(type='BaseSegDataset', data_root=str(folder), metainfo=dict(classes=('a', 'b')),
                   data_prefix=dict(img_path='', seg_map_path=''), pipeline=[], **settings)
    return Config(dict(default_scope='mmseg', train_dataloader=dict(dataset=dataset)))


def test_data_sets_of_ones_own_are_checked_without_counts(tmp_path):
    write_image(tmp_path / 'x' / 'one.jpg')  # images and labels in one folder, and a folder below
    write_label(tmp_path / 'x' / 'one.png', (0, 1, 1, 255))
    config = custom_config(tmp_path)
    (tmp_path / 'x' / '._one.jpg').touch()  # hidden, as a Mac leaves them
    report, = check_data(config)
    assert report.findings == [] and (report.images, report.official) == (1, None)
    write_label(tmp_path / 'x' / 'one.png', (0, 1, 2, 255))
    assert errors_of(check_data(config)) == [
        f'train: labels with values outside 0 to 1 and 255: 1 of 1 ({tmp_path}/x/one.png: 2)']
    assert check_data(config)[0].errors[0].fix.endswith('metainfo.classes and reduce_zero_label')
    # With the zero label dropped, 2 is the second class.
    assert errors_of(check_data(custom_config(tmp_path, reduce_zero_label=True))) == []
    config.train_dataloader.dataset.metainfo = None
    report, = check_data(config)
    assert not report.errors
    assert report.remarks[0].message == 'BaseSegDataset names no classes: label values are not judged'
    # What the check sets itself may stand in the config, and so may the backend of local files; others are not checked.
    write_label(tmp_path / 'x' / 'one.png', (0, 1, 3, 255))
    local, remote = (check_data(custom_config(tmp_path, lazy_init=False, backend_args=dict(backend=backend)))[0]
                     for backend in ('local', 'petrel'))
    assert 'labels with values outside 0 to 1' in local.errors[0].message
    assert remote.images is None and 'is not checked: it does not read local' in remote.remarks[0].message
    assert 'data_root=FOLDER' in check_data(custom_config(tmp_path / 'none'))[0].errors[0].fix


@pytest.mark.parametrize(('values', 'options', 'found'), [
    ((0, 255, 0, 255), {}, 'the value 0 alone of 2 classes, beside 255'),  # a mask in black and white
    ((0, 1, 0, 1), dict(reduce_zero_label=True), 'the value 1 alone of 2 classes, beside 0'),
    ((255, 255, 255, 255), {}, 'no value of 2 classes, beside 255'),
    ((0, 1, 255, 1), {}, None),
    ((1, 2, 0, 1), dict(reduce_zero_label=True), None),
])
def test_label_maps_with_one_class_are_remarked_upon(values, options, found, tmp_path):
    for name in ('one', 'two'):
        write_image(tmp_path / 'x' / f'{name}.jpg')
        write_label(tmp_path / 'x' / f'{name}.png', values)
    report, = check_data(custom_config(tmp_path, **options))
    assert [remark.message for remark in report.findings] == [
        f'the 2 label maps that were opened hold {found}; a model learns nothing else from them'] * (found is not None)
    assert all('labels of 0 and 255 need 1' in remark.fix for remark in report.findings)


def test_wrappers_are_looked_into():
    _, config = place('ade20k')
    inner = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2,
        dataset=dict(type='ConcatDataset', datasets=[inner, config.val_dataloader.dataset]))
    assert [report.loaders for report in check_data(config)] == [['train'], ['train', 'val', 'test']]


def test_what_cannot_be_checked_says_so():
    def only(kind):
        return Config(dict(default_scope='mmpretrain', train_dataloader=dict(dataset=dict(type=kind))))

    report, = check_data(only('CIFAR10'))
    assert report.remarks[0].message == ('CIFAR10 is not checked: it does not read local files as BaseSegDataset and '
                                         'CustomDataset do')
    class Tensors(BaseSegDataset):

        def load_data_list(self):
            return [dict(img=0)]

    report, = check_data(only(Tensors))
    assert not report.errors and report.remarks[0].message == 'Tensors is not checked: it lists no image files'
    assert errors_of(check_data(only('Cifar'))) == ['train: there is no data set of type Cifar']
    nameless = Config(dict(train_dataloader=dict(dataset=dict(data_root='x'))))
    assert errors_of(check_data(nameless)) == ['train: the data set has no type']
    message, = errors_of(check_data(only('CustomDataset')))
    assert message.startswith('train: CustomDataset cannot list its files (): AssertionError: One of')
    with pytest.raises(ValueError, match='the config names no data: it has no train_dataloader, val_dataloader'):
        check_data(Config(dict(model=dict())))
    assert render([report]).endswith('0 errors, 1 remark.')


def test_training_looks_first_and_can_be_told_not_to(tmp_path, capsys):
    root, _ = place('ade20k')
    path = leaf('vit_linear_ade20k')
    command = [path, '--allow-random-backbone', '--work-dir', str(tmp_path / 'w')]
    write_label(root / 'annotations' / 'training' / 'ADE_train_00000001.png', (151, 151, 151, 151))
    write_label(root / 'annotations' / 'validation' / 'ADE_val_00000001.png', (151, 151, 151, 151))
    with pytest.raises(RuntimeError) as error:
        cli.training_job(command)
    assert str(error.value).startswith('train data: labels with values outside 0 to 150 and 255: 1 of 4 (')
    assert str(error.value).endswith(f'that fetch the data; 1 more (python tools/data/check.py {path} lists all; '
                                     '--no-data-check, or checks.data=False, trains without this look)')
    assert '\n' not in str(error.value) and not (tmp_path / 'w').exists()
    capsys.readouterr()
    small = ['--cfg-options', 'model.backbone.arch=deit-tiny', 'model.decode_head.in_channels=192']
    assert cli.training_job([*command, '--no-data-check', *small])
    assert 'data: ' not in capsys.readouterr().err
    for split, name in (('training', 'ADE_train_00000001'), ('validation', 'ADE_val_00000001')):
        write_label(root / 'annotations' / split / f'{name}.png', RAW_VALUES['ade20k'])
    assert cli.training_job([*command, *small])
    said = capsys.readouterr().err
    assert 'mmlocat: train data: 4 images, not the 20,210 of ADE20K; well if a subset is meant.' in said
    assert 'mmlocat: val data: 4 images, not the 2,000 of ADE20K; well if a subset is meant.' in said


def test_other_processes_leave_the_look_to_the_first(monkeypatch):
    asked = []
    monkeypatch.setattr(training_data, 'check_data', lambda *args, **kwargs: asked.append(args) or [])
    config = load_config(leaf('vit_imagenet'))
    for rank, calls in (('1', 0), ('0', 1)):
        monkeypatch.setenv('RANK', rank)
        training_data.check_training_data(config, Context())
        assert len(asked) == calls
    training_data.check_training_data(config, Context(options=dict(data=False)))
    assert len(asked) == 1


def test_a_config_that_cannot_be_read_is_one_line(capsys):
    tool = runpy.run_path(str(ROOT / 'tools' / 'data' / 'check.py'))['main']
    with pytest.raises(SystemExit) as stop:
        tool(['nothing.py'])
    assert stop.value.code == 1 and '\nError: config nothing.py does not exist' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool(['nothing.py', '--sample', '0'])
    assert '--sample must be at least 1, got 0' in capsys.readouterr().err
