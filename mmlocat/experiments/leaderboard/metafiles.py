"""Writes configs/metafiles/*.yml: every shipped leaf, with numbers from one source each.

Results are those of ``paper_results.csv``; parameters and FLOPs (multiply-accumulates, as the paper counts) are counted
by ``mmlocat.analysis.flops``; weights are those that a segmentation leaf of the same arch names. A leaf whose
arch is neither a ViT nor a LocAtViT is left out: it starts from others' weights and stands in no table of the paper.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import yaml

from mmlocat.analysis.flops import count
from mmlocat.config import load_config
from mmlocat.models.building import input_shape
from mmlocat.utils import atomic_write, share_folder, with_progress

from .deviations import recipe_checkpoint
from .names import DATASETS, Leaf, order, parse, published_for

FOLDER = 'configs/metafiles'
_PAPER = dict(Title='Locality-Attending Vision Transformer', URL='https://arxiv.org/abs/2603.04892')
_COLLECTIONS = {
    'vit': ('ViT', ['Vision transformer']),
    'locatvit': ('LocAtViT', ['Gaussian-augmented attention', 'Patch representation refinement']),
    'digitscenes': ('DigitScenes', ['Vision transformer', 'Gaussian-augmented attention'])
}
_HEADER = ('# Written by tools/analysis/metafiles.py. Results: published, '
           'mmlocat/experiments/leaderboard/paper_results.csv.\n'
           '# Parameters and FLOPs (multiply-accumulates of one image): counted by tools/analysis/flops.py.\n')


def family(leaf: Leaf) -> Optional[str]:
    """Returns the family a leaf is listed in: 'vit', 'locatvit' or 'digitscenes'; None for one that is left out."""
    if leaf.dataset == 'digitscenes':
        return 'digitscenes'
    return leaf.family if leaf.family in _COLLECTIONS else None


def leaves() -> List[Leaf]:
    """Returns every shipped leaf, in the order of tables."""
    return sorted((parse(path.name) for path in (share_folder() / 'configs').glob('*.py')),
                  key=lambda leaf: (*order(leaf), leaf.name))


def published_weights(leaf: Leaf) -> Optional[str]:
    """Returns the address of a classifier's published weights, or None."""
    if leaf.head or leaf.dataset != 'imagenet':
        return None
    for other in leaves():
        source = recipe_checkpoint(other.name) if other.head and other.arch == leaf.arch else None
        if source:
            return source
    return None


def count_costs(leaf: Leaf) -> Tuple[int, int]:
    """Returns parameters and MACs of one image of a leaf's training size."""
    config = load_config(str(share_folder() / 'configs' / f'{leaf.name}.py'))
    cost = count(config, input_shape(config))
    return cost.parameters, cost.macs


def model_entry(leaf: Leaf, costs: Callable[[Leaf], Tuple[int, int]] = count_costs) -> dict:
    """Returns a leaf's entry.

    Args:
        leaf: A listed one.
        costs: Gives parameters and MACs.
    """
    parameters, macs = costs(leaf)
    entry = {
        'Name': leaf.name,
        'In Collection': _COLLECTIONS[family(leaf)][0],
        'Config': f'configs/{leaf.name}.py',
        'Metadata': {
            'Parameters': parameters,
            'FLOPs': macs,
            'Training Data': [DATASETS.get(leaf.dataset, leaf.dataset)]
        }
    }
    weights = published_weights(leaf)
    if weights:
        entry['Weights'] = weights
    number = published_for(leaf)
    if number and number.value is not None:
        entry['Results'] = [{
            'Task': 'Semantic Segmentation' if leaf.head else 'Image Classification',
            'Dataset': DATASETS[leaf.dataset],
            'Metrics': {'mIoU' if leaf.head else 'Top 1 Accuracy': number.value}
        }]
    return entry


def metafiles(costs: Callable[[Leaf], Tuple[int, int]] = count_costs) -> Dict[str, dict]:
    """Returns the content of every metafile by its path below the checkout."""
    files: Dict[str, dict] = {}
    for name, (title, architecture) in _COLLECTIONS.items():
        own = [leaf for leaf in leaves() if family(leaf) == name]
        collection = {
            'Name': title,
            'Metadata': {'Architecture': architecture},
            'Paper': _PAPER,
            'README': f'{FOLDER}/{name}.md'
        }
        # A collection once: the index imports both files.
        for task, collections in (('classification', [collection]), ('segmentation', [])):
            entries = [model_entry(leaf, costs) for leaf in own if bool(leaf.head) == (task == 'segmentation')]
            files[f'{FOLDER}/{name}_{task}.yml'] = {'Collections': collections, 'Models': entries}
    return files


def write(root: Path) -> List[Path]:
    """Writes all metafiles and ``model-index.yml`` of a checkout.

    Args:
        root: The checkout.

    Returns:
        The files.
    """
    listed = [leaf for leaf in leaves() if family(leaf)]
    counted = {leaf: count_costs(leaf) for leaf in with_progress(listed, lambda leaf: leaf.name)}
    files = metafiles(counted.__getitem__)
    contents = {name: _HEADER + _dump(content) for name, content in files.items()}
    contents['model-index.yml'] = _dump({'Import': list(files)})
    for name, text in contents.items():
        with atomic_write(root / name) as file:
            file.write(text)
    return [root / name for name in contents]


def _dump(content: dict) -> str:
    class Dumper(yaml.SafeDumper):

        def ignore_aliases(self, data) -> bool:
            return True

    return yaml.dump(content, Dumper=Dumper, sort_keys=False, width=110)
