"""Writes the records that trainings and tests leave behind, without any."""

import copy
import json

from mmlocat.experiments.leaderboard.names import metric, parse
from mmlocat.experiments.leaderboard.runs import recipe
from mmlocat.training.provenance import config_hash


def put(root, leaf, seed, value, *, initial=None, batch=None, finished=True, tta=False, device='A CPU', base=None,
        processes=1, training=True, folders=None, tested=None, best=None, **changes):
    """Writes the record of a training and its test as tools/train.py and tools/test.py would; returns the result.

    Both go to a new folder below ``root``, or to the two of ``folders``. ``tested`` names another checkpoint than the
    last one of the training, ``best`` its best one.
    """
    settings = copy.deepcopy(recipe(base or leaf)[0])
    for key, new in changes.items():
        node = settings
        *path, last = key.split('__')
        for part in path:
            node = node[part]
        node[last] = new
    test_settings = copy.deepcopy(settings)
    if tta:
        test_settings['test_dataloader']['dataset']['pipeline'] = test_settings['tta_pipeline']
        test_settings['model'] = dict(test_settings['tta_model'], module=test_settings['model'])
    configs = {config_hash(used): used for used in (settings, test_settings)}
    digest = config_hash(settings)
    folders = folders or [root / leaf / f'{seed}-{len(list(root.rglob("*.json")))}'] * 2
    result = str(folders[0])
    common = dict(date='2026-11-23T10:00:00+00:00', leaf=leaf, config=digest, options={}, remarks=[],
                  checkout=dict(commit='c' * 40, dirty=False), versions=dict(torch='2.14', mmlocat='0.1'), seed=seed,
                  processes=processes, device=device)
    end = dict(date=common['date'], iteration=1, iterations=1, seconds=1., seconds_per_iteration=.1,
               checkpoint=dict(source='x.pth', sha256=result), best=best)
    expected = (settings.get('auto_scale_lr') or {}).get('base_batch_size')
    launch = dict(common, total_batch=batch or expected, initial_checkpoint=initial, resumed_from=None,
                  first_iteration=0, finished=end if finished else None)
    name = metric(parse(leaf).head)[0]
    classes = ['a', 'b'] if name == 'mIoU' else None
    test = dict(common, config=config_hash(test_settings), checkpoint=tested or dict(source='x.pth', sha256=result),
                tta=tta, images=9, seconds=1., metrics={name: value}, classes=classes,
                class_iou=[value, None] if classes else None)
    for folder in set(folders):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'provenance.json').write_text(json.dumps(dict(
            version=1, configs=configs, launches=[launch] if training and folder == folders[0] else [],
            tests=[test] if folder == folders[1] else [])))
    return dict(source='x.pth', sha256=result)
