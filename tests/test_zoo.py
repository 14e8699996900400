"""The model zoo: every config listed, every number sourced, names that resolve."""

import subprocess
import sys

import mmpretrain
import pytest
import yaml

import mmlocat
import mmlocat.models
from mmlocat import zoo
from mmlocat.experiments.leaderboard.metafiles import count_costs, family, leaves, metafiles
from mmlocat.experiments.leaderboard.names import parse, published
from tests.conftest import ROOT

INDEX = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
FILES = {name: yaml.safe_load((ROOT / name).read_text()) for name in INDEX}
MODELS = {model['Name']: model for content in FILES.values() for model in content['Models']}


def test_every_leaf_is_listed_or_excluded_by_rule():
    assert set(MODELS) == {leaf.name for leaf in leaves() if family(leaf)}, \
        'run python tools/analysis/metafiles.py after adding a config'
    assert not any(leaf.arch.startswith(('vit', 'locatvit')) for leaf in leaves() if not family(leaf))
    assert len(MODELS) >= 10
    for model in MODELS.values():
        assert (ROOT / model['Config']).is_file()


def test_the_files_are_what_the_tool_writes():
    """All but the costs, which take a while to count for every config: those are compared for one a task."""
    own = {name: (model['Metadata']['Parameters'], model['Metadata']['FLOPs']) for name, model in MODELS.items()}
    assert metafiles(own) == FILES
    for path in INDEX[:2]:
        name = FILES[path]['Models'][0]['Name']
        assert count_costs(parse(name)) == own[name], 'run python tools/analysis/metafiles.py'


def test_every_result_is_a_published_one():
    numbers = 0
    for name, model in MODELS.items():
        expected = published().get(parse(name).entry)
        values = [value for result in model.get('Results', []) for value in result['Metrics'].values()]
        assert values == ([] if expected is None else [expected]), name
        numbers += len(values)
    assert numbers >= 4 and MODELS['locatvit_imagenet']['Results'][0]['Metrics'] == {'Top 1 Accuracy': 82.31}


def test_weights_are_listed_where_they_are_published():
    weights = {name: model['Weights'] for name, model in MODELS.items() if 'Weights' in model}
    published = {'locatvit_imagenet': 'hf://sinahmr/locatvit_base',
                 'locatvit-tiny_imagenet': 'hf://sinahmr/locatvit_tiny'}
    assert weights == {name: source for name, source in published.items() if name in MODELS}


def test_collections_and_readmes():
    collections = [one for content in FILES.values() for one in content['Collections']]
    assert {one['Name'] for one in collections} == {model['In Collection'] for model in MODELS.values()}
    assert len(collections) == 8
    for one in collections:
        assert (ROOT / one['README']).is_file()


def test_mmpretrain_gets_a_classifier_by_name():
    model = mmpretrain.get_model('locatvit-nano_digitscenes')
    assert type(model.backbone) is mmlocat.models.LocAtViT and model.backbone.kernel is not None
    assert model._metainfo.in_collection == 'DigitScenes'
    listed = set(mmpretrain.list_models('locatvit'))
    assert 'locatvit_imagenet' in listed and not any('_linear_' in name or '_upernet_' in name for name in listed)
    assert mmpretrain.list_models('vit-base-p16_32xb128')  # MMPretrain's own are still there


def test_base_may_be_named():
    """It is the size that a name without one means."""
    assert mmlocat.resolve('locatvit-base_imagenet') == mmlocat.resolve('locatvit_imagenet')
    for name in ('locatvit', 'vit'):
        configs = [mmpretrain.apis.ModelHub.get(f'{prefix}_imagenet') for prefix in (name, f'{name}-base')]
        assert configs[0].config.filename == configs[1].config.filename
    assert not mmpretrain.list_models('*-base_digitscenes') and not mmpretrain.list_models('*-base-base*')


def test_a_broken_zoo_does_not_break_the_import(monkeypatch, tmp_path, caplog):
    (tmp_path / 'configs' / 'metafiles').mkdir(parents=True)
    monkeypatch.setattr(zoo, 'share_folder', lambda: tmp_path)
    zoo.register_classifiers()  # nothing there
    assert not caplog.records
    (tmp_path / 'configs' / 'metafiles' / 'a_classification.yml').write_text('Models: [')
    monkeypatch.setattr(zoo.logging.getLogger('mmlocat'), 'propagate', True)
    zoo.register_classifiers()
    assert 'the model zoo is not available' in caplog.text

    def missing():
        raise FileNotFoundError('no configs')

    monkeypatch.setattr(zoo, 'share_folder', missing)
    zoo.register_classifiers()
    assert 'no configs' in caplog.text


def test_resolve(tmp_path):
    config, weights = mmlocat.resolve('locatvit_imagenet')
    assert config == str(ROOT / 'configs' / 'locatvit_imagenet.py') and weights == 'hf://sinahmr/locatvit_base'
    (tmp_path / 'a.pth').touch()
    own = mmlocat.resolve('locatvit_linear_ade20k', weights=str(tmp_path / 'a.pth'))
    assert own == (str(ROOT / 'configs' / 'locatvit_linear_ade20k.py'), str(tmp_path / 'a.pth'))


def test_names_that_do_not_resolve(tmp_path):
    with pytest.raises(ValueError, match=r'no weights are published for locatvit_linear_ade20k: train it with .* and '
                                         r"give the result: mmlocat.resolve\('locatvit_linear_ade20k', weights='FILE'"):
        mmlocat.resolve('locatvit_linear_ade20k')
    with pytest.raises(ValueError, match="no model is named 'locatvit_linaer_ade20k'; did you mean "
                                         'locatvit_linear_ade20k'):
        mmlocat.resolve('locatvit_linaer_ade20k')
    with pytest.raises(ValueError, match="no model is named ''; configs/ lists them all"):
        mmlocat.resolve('')
    with pytest.raises(FileNotFoundError, match='weights gone.pth do not exist'):
        mmlocat.resolve('locatvit_imagenet', weights='gone.pth')


def test_a_library_that_is_missing_is_named_as_pip_knows_it(monkeypatch, tmp_path):
    """And one that is there under another name is found by its module."""
    from mmengine.config.utils import MODULE2PACKAGE
    from mmengine.hub import hub
    from mmengine.utils import package_utils
    monkeypatch.setattr(hub, 'install_package', hub.install_package)
    for module, package in (('mmseg', 'mmsegmentation'), ('mmpretrain', 'mmpretrain')):
        monkeypatch.setitem(MODULE2PACKAGE, module, package)

    def version(name):
        raise zoo.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(zoo.metadata, 'version', version)
    zoo.find_installed_libraries()
    assert MODULE2PACKAGE['mmseg'] == 'mmseg'
    MODULE2PACKAGE['mmseg'] = 'mmsegmentation'
    monkeypatch.setattr(zoo, 'find_spec', lambda name: None)
    monkeypatch.setattr(package_utils, 'is_installed', lambda name: False)
    monkeypatch.setattr('mmengine.utils.is_installed', lambda name: False)
    zoo.find_installed_libraries()
    with pytest.raises(ModuleNotFoundError, match='pip install mmsegmentation$'):
        hub.install_package(MODULE2PACKAGE['mmseg'])


def test_the_package_stays_light(clean_environment):
    code = ('import sys, mmlocat; mmlocat.resolve("locatvit_imagenet"); '
            'print([name for name in ("torch", "mmengine", "mmpretrain", "mmseg", "numpy") if name in sys.modules])')
    result = subprocess.run([sys.executable, '-c', code], env=clean_environment, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.strip() == '[]'
