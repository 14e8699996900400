"""Draws the plots of the pages, from figures that are stored: ``python docs/site/plots.py``.

Each picture records which figures it shows. A test compares that with today's, so that no picture is older than its
page; nothing else has to be kept in step.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import inspect
import json
import re
from pathlib import Path
from typing import Dict, List

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmlocat.attention import GaussianKernel
from mmlocat.experiments.leaderboard.names import PAPER
from mmlocat.visualization.style import ATTENTION, LINES, MARKERS, new_page

DOCS = Path(__file__).resolve().parent.parent
_EXAMPLE = importlib.util.spec_from_file_location('example', DOCS.parent / 'tools' / 'data' / 'example.py')
example = importlib.util.module_from_spec(_EXAMPLE)
_EXAMPLE.loader.exec_module(example)
_PLAIN, _OURS = LINES[1], LINES[0]  # a plain model and the one with GAug and PRR, in all plots


def table(page: str, *columns: str, until: str = '') -> List[Dict[str, str]]:
    """Returns the rows of every table of a page that has these columns, in order, by the names of their columns.

    Args:
        page: The name of a file in docs/.
        columns: Some of the columns.
        until: The heading that ends the part of the page to look at, '' for the whole page.

    Raises:
        ValueError: The page has no such table.
    """
    found, text = [], (DOCS / page).read_text(encoding='utf-8')
    for block in re.findall(r'(?:^\|.*\n)+', text[:text.index(until)] if until else text, re.MULTILINE):
        header, _, *rows = ([cell.strip() for cell in line.strip('|\n').split(' | ')] for line in block.splitlines())
        if set(columns) <= set(header):
            found += [dict(zip(header, row)) for row in rows]
    if not found:
        raise ValueError(f'docs/{page} has no table with the columns {", ".join(columns)}; has it been renamed?')
    return found


def cost_figures() -> dict:
    """Returns what GAug costs, in times of the same without it: attention by grid, whole models by size of image."""
    attention = [[row['pass'], int(row['grid']), float(row['x plain'])]
                 for row in table('performance.md', 'pass', 'back-end', 'x plain', until='### Half precision')
                 if row['back-end'] == 'auto' and row['heads'] == '12']
    models = [[row['size'], row['mode'], int(row['image']), float(row['x mmpretrain'])]
              for row in table('performance.md', 'mode', 'model', 'x mmpretrain') if row['model'] == 'LocAtViT']
    return dict(attention=attention, models=models)


def draw_cost(figures: dict) -> Figure:
    """Draws the ratios of ``cost_figures`` beside the line of 1, the model without GAug."""
    page = new_page(9, 3.6, 'What GAug costs on two CPU cores: time, in times of the same without it')
    left, right = page.subplots(1, 2, sharey=True)
    for name, colour, marker in zip(('forward', 'forward + backward'), LINES, MARKERS):
        points = sorted((grid, ratio) for kind, grid, ratio in figures['attention'] if kind == name)
        left.plot(*zip(*points), color=colour, marker=marker, label=name)
    left.set(xlabel='patches along a side', ylabel='times plain', title='attention alone, 12 heads',
             xticks=sorted({grid for _, grid, _ in figures['attention']}))
    for size, colour, marker in zip(('tiny', 'small', 'base'), LINES[2:], MARKERS[2:]):
        for mode, line in (('inference', '-'), ('training step', ':')):
            points = sorted((image, ratio) for *key, image, ratio in figures['models'] if key == [size, mode])
            right.plot(*zip(*points), line, color=colour, marker=marker, label=f'{size}, {mode}')
    right.set(xlabel='image, px', title='whole models', xticks=sorted({row[2] for row in figures['models']}))
    for axes in (left, right):
        axes.axhline(1, color='black', linewidth=1)
        axes.grid(True, alpha=0.3)
        axes.legend(fontsize=8)
    left.set_ylim(0)
    return page


def results_figures() -> dict:
    """Returns what the paper printed of models and their LocAt twins, top-1 and mIoU, by plain model and size."""
    with open(PAPER, encoding='utf-8', newline='') as file:
        rows = {(row['model'], row['size']): row for row in csv.DictReader(file)}
    pairs = (('ViT', 'LocAtViT'), ('RegViT', 'LocAtRegViT'), ('Swin', 'LocAtSwin'))
    found = {}
    for key, text in (('ade20k_miou', 'ADE20K'), ('pascal_context59_miou', 'Pascal Context'),
                      ('coco_stuff164k_miou', 'COCO-Stuff'), ('imagenet1k_top1', 'ImageNet-1K')):
        values = [[f'{plain}, {size.title()}', rows[plain, size][key], rows[ours, size][key]]
                  for plain, ours in pairs for size in ('tiny', 'base')]
        found[text] = [[name, float(old), float(new)] for name, old, new in values if old and new]
    return found


def draw_results(figures: dict) -> Figure:
    """Draws an arrow for each pair of ``results_figures``, from the plain model to its LocAt twin."""
    page = new_page(9, 4.6, 'Published: a plain model, and the same with GAug and PRR')
    for axes, (data, pairs) in zip(page.subplots(2, 2).flat, figures.items()):
        places = range(len(pairs))[::-1]
        for place, (_, old, new) in zip(places, pairs):
            axes.annotate('', (new, place), (old, place), arrowprops=dict(arrowstyle='-|>', color=_OURS, shrinkB=5))
        for index, (colour, marker, name) in enumerate(((_PLAIN, 'o', 'plain'), (_OURS, 's', 'with GAug and PRR')), 1):
            axes.plot([pair[index] for pair in pairs], places, marker, color=colour, label=name)
        label = 'top-1 %' if data == 'ImageNet-1K' else 'mIoU %, frozen backbone, one-layer head'
        axes.set_yticks(places, [pair[0] for pair in pairs])
        axes.set(title=data, xlabel=label, ylim=(-0.6, len(pairs) - 0.4))
        axes.grid(True, axis='x', alpha=0.3)
    axes.legend(fontsize=8)
    return page


def gaug_figures() -> dict:
    """Returns the Gaussians to draw, computed by the functions that the model runs: alpha, variances, S in patches."""
    kernel, height = GaussianKernel(ref_grid=14), 14
    query = 6 * height + 5  # the patch in row 6, column 5
    shown = []
    for alpha, vertical, horizontal in ((0.7, 1.0, 1.0), (2.0, 1.0, 1.0), (2.0, 6.0, 6.0), (2.0, 1.0, 12.0)):
        # In float64, so that four digits are the same on every machine.
        variance = torch.tensor([vertical, horizontal], dtype=torch.float64).expand(1, height * height, 2)
        rows, columns = kernel.factors(variance, grid=height)
        values = alpha * rows[0, query, :, None] * columns[0, query, None, :]
        shown.append([alpha, vertical, horizontal, [[round(value, 4) for value in row] for row in values.tolist()]])
    return dict(shown=shown)


def draw_gaug(figures: dict) -> Figure:
    """Draws the maps of ``gaug_figures`` on one scale: what a query adds to its logits, patch by patch."""
    page = new_page(9, 2.9, 'What one query adds to its attention logits, on a grid of 14 x 14 patches')
    axes = page.subplots(1, len(figures['shown']))
    for place, (alpha, vertical, horizontal, values) in zip(axes, figures['shown']):
        drawn = place.imshow(np.asarray(values), cmap=ATTENTION, vmin=0, vmax=2)
        place.plot(5, 6, '+', color=LINES[1])
        place.set(xticks=(), yticks=())
        place.set_title(f'α = {alpha:g}\nσ² = {vertical:g} down, {horizontal:g} across', fontsize=9)
    page.colorbar(drawn, ax=list(axes), label='S', shrink=0.8)
    return page


def example_figures() -> dict:
    """Returns which images of tools/data/example.py to show, its classes, and the code that draws them."""
    return dict(numbers=[0, 1, 2, 3], classes=example.CLASSES, code=inspect.getsource(example.draw))


def draw_example(figures: dict) -> Figure:
    """Draws the images of ``example_figures`` above their label maps in the colours of the classes."""
    page = new_page(9, 3.8, 'Images of the example, and their label maps: a number for each pixel, here as a colour')
    colours = np.full((256, 3), 255, dtype=np.uint8)  # white where nothing is labelled
    colours[:len(figures['classes'])] = list(figures['classes'].values())
    for (above, below), number in zip(page.subplots(2, len(figures['numbers'])).T, figures['numbers']):
        image, label = example.draw(number, (1, 2))
        above.imshow(np.asarray(image))
        below.imshow(colours[np.asarray(label)])
        above.set_axis_off()
        below.set_axis_off()
    handles = [Patch(facecolor=np.divide(colour, 255), label=f'{number} {name}')
               for number, (name, colour) in enumerate(figures['classes'].items())]
    handles.append(Patch(facecolor='white', edgecolor='black', label='255 unlabelled'))
    page.legend(handles=handles, loc='outside lower center', ncols=len(handles), fontsize=9)
    return page


PLOTS = {'cost.png': (cost_figures, draw_cost), 'results.png': (results_figures, draw_results),
         'gaug.png': (gaug_figures, draw_gaug), 'example.png': (example_figures, draw_example)}


def fingerprint(figures: dict) -> str:
    """Returns the SHA-256 of figures, as a picture records it."""
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()


def write(name: str, folder: Path = DOCS) -> Path:
    """Draws one of ``PLOTS`` into a folder; the PNG says under "Source" which figures it shows."""
    collect, draw = PLOTS[name]
    figures = collect()
    draw(figures).savefig(folder / name, dpi=110, metadata={'Source': fingerprint(figures)})
    return folder / name


if __name__ == '__main__':
    for plot in PLOTS:
        print(write(plot))
