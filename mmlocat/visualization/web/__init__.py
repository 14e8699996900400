"""The web page of ``make app``: the user drops a picture and clicks a patch to see what it attends to."""

import os

from mmlocat.utils import require_modules, require_openmmlab

require_openmmlab('mmlocat.visualization.web')
os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # read when gradio is imported, which comes next
require_modules(('gradio', ), 'app', 'mmlocat.visualization.web')
