"""A web page on which a picture is dropped and its patches are clicked."""

import os

from mmlocat.utils import require_modules, require_openmmlab

require_openmmlab('mmlocat.visualization.web')
os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # read when gradio is imported, which comes next
require_modules(('gradio', ), 'app', 'mmlocat.visualization.web')
