"""Data sets as their publishers pack them, from the trees of ``layouts``; `wget` and Pascal's reader as stand-ins."""

import os
import re
import shutil
import tarfile
from pathlib import Path

import mmseg
import numpy as np
from PIL import Image
from scipy.io import savemat

from tests.helpers.layouts import ROOTS, make

WGET = '''#!/bin/bash
where=. ; out=
while (($#)); do
    case $1 in -c) ;; -qO-) out=- ;; -P) where=$2; shift ;; http*) address=$1 ;; *) exit 4 ;; esac
    shift
done
file="$ARCHIVES/${address##*/}"
[ -f "$file" ] || { echo "no ${address##*/} to hand out" >&2; exit 8; }
if [ "$out" = - ]; then cat "$file"; else cp "$file" "$where/"; fi
'''
# The Detail API, which Pascal-Context's labels are read with, is not on PyPI.
DETAIL = '''
import numpy as np

class Detail:
    def __init__(self, json_path, image_folder, split):
        open(json_path).close()
        self.names = dict(train=TRAIN, val=VAL)[split]

    def getImgs(self):
        return [dict(file_name=f'{name}.jpg') for name in self.names]

    def getMask(self, image):
        return np.array([[0, 2], [115, 18]]).repeat(16, 0).repeat(20, 1)
'''


def pack(folder):
    """Writes every archive that docs/data.md fetches; returns their folder."""
    source, archives = folder / 'source', folder / 'archives'
    archives.mkdir(parents=True)
    trees = {name: make(name, source) for name in ROOTS if name != 'mini-imagenet'}
    ade, voc, coco, imagenet = (trees[name] for name in ('ade20k', 'pascal_context59', 'coco_stuff164k', 'imagenet'))
    shutil.make_archive(str(archives / ade.name), 'zip', ade.parent, ade.name)
    for split in ('train2017', 'val2017'):
        shutil.make_archive(str(archives / split), 'zip', coco / 'images', split)
    for path in (coco / 'annotations').rglob('*_labelTrainIds.png'):
        path.unlink()  # the converter's
    shutil.make_archive(str(archives / 'stuffthingmaps_trainval2017'), 'zip', coco / 'annotations')
    with tarfile.open(archives / 'VOCtrainval_03-May-2010.tar', 'w') as tar:
        tar.add(voc / 'JPEGImages', 'VOCdevkit/VOC2010/JPEGImages')
    (archives / 'trainval_merged.json').write_text('{}')
    pack_voc2012(trees['voc2012'], archives)
    with tarfile.open(archives / 'ILSVRC2012_img_train.tar', 'w') as tar:
        for wnid in sorted((imagenet / 'train').iterdir()):
            shutil.make_archive(str(source / wnid.name), 'tar', wnid)
            tar.add(source / f'{wnid.name}.tar', f'{wnid.name}.tar')
    with tarfile.open(archives / 'ILSVRC2012_img_val.tar', 'w') as tar:
        for path in sorted((imagenet / 'val').iterdir()):
            tar.add(path, path.name)
    shutil.make_archive(str(archives / 'caffe_ilsvrc12'), 'gztar', imagenet / 'meta')
    return archives


def pack_voc2012(voc, archives):
    """Writes the archives of VOC 2012 and of SBD, whose lists overlap with those of VOC."""
    lists = voc / 'ImageSets' / 'Segmentation'
    train, aug, val = ((lists / f'{split}.txt').read_text().split() for split in ('train', 'aug', 'val'))
    with tarfile.open(archives / 'VOCtrainval_11-May-2012.tar', 'w') as tar:
        for name in ('JPEGImages', 'SegmentationClass', *(f'ImageSets/Segmentation/{split}.txt' for split in (
                'train', 'val'))):
            tar.add(voc / name, f'VOCdevkit/VOC2012/{name}')
    labels = archives / 'sbd' / 'dataset' / 'cls'
    labels.mkdir(parents=True)
    for name in aug:
        with Image.open(voc / 'SegmentationClassAug' / f'{name}.png') as label:
            savemat(labels / f'{name}.mat', {'GTcls': {'Segmentation': np.asarray(label)}})
    for split, names in (('train', [*train[:2], *aug[:2]]), ('val', [*val[:2], *aug[2:]])):
        (labels.parent / f'{split}.txt').write_text(''.join(f'{name}\n' for name in names))
    with tarfile.open(archives / 'benchmark.tgz', 'w:gz') as tar:
        tar.add(archives / 'sbd', 'benchmark_RELEASE')


def workplace(folder, environment):
    """Makes what the commands need beside their archives; returns the environment to run them in."""
    archives = pack(folder)
    lists = folder / 'source' / ROOTS['pascal_context59'] / 'ImageSets' / 'SegmentationContext'
    converters, tools = folder / 'converters', folder / 'bin'
    shutil.copytree(Path(mmseg.__file__).parent / '.mim' / 'tools' / 'dataset_converters', converters)
    for name, count in (('coco_stuff164k', 'COCO_LEN'), ('voc_aug', 'AUG_LEN')):  # both have 8 images here
        converter = converters / f'{name}.py'
        text, changed = re.subn(rf'(?m)^{count} = \d+$', f'{count} = 8', converter.read_text())
        assert changed == 1
        converter.write_text(text)
    text = DETAIL
    for split in ('train', 'val'):
        text = text.replace(split.upper(), repr((lists / f'{split}.txt').read_text().split()))
    (converters / 'detail.py').write_text(text)
    tools.mkdir()
    (tools / 'wget').write_text(WGET)
    (tools / 'wget').chmod(0o755)
    for name in ('ILSVRC2012_img_train.tar', 'ILSVRC2012_img_val.tar'):  # nobody may fetch these without an account
        shutil.copy(archives / name, folder)
    return dict(environment, ARCHIVES=str(archives), CONVERTERS=str(converters),
                PATH=os.pathsep.join((str(tools), os.environ['PATH'])))
